"""Name the format of a file that is not an accepted image, with what to do about it.

The signatures are those of each format's specification.
"""

_EXPORT = "export it as JPEG or PNG and upload that"
# ISO base media files name their kind at byte 8 (ISO/IEC 14496-12).
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC (of an iPhone)"),
    **dict.fromkeys((b"mif1", b"msf1"), "HEIF"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "a RAW file of a camera (CR3)",
}
_IMAGES = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "a Photoshop file"),
    (b"FUJIFILMCCD-RAW", "a RAW file of a camera (RAF)"),
    (b"FOVb", "a RAW file of a camera (X3F)"),
    (b"IIU\0", "a RAW file of a camera (RW2)"),
    (b"IIRO", "a RAW file of a camera (ORF)"),
    (b"II*\0", "TIFF, or a RAW file of a camera"),
    (b"MM\0*", "TIFF, or a RAW file of a camera"),
    (b"\0\0\1\0", "an icon"),
    (b"v/1\x01", "OpenEXR"),
    (b"%PDF", "PDF"),
)
_OTHERS = (
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"RIFF", "a video or a sound (RIFF)"),
    (b"PK\3\4", "a ZIP archive: unpack it and upload the images"),
    (b"\x1f\x8b", "a gzip archive: unpack it and upload the images"),
    (b"Rar!", "a RAR archive: unpack it and upload the images"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it and upload the images"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the image itself: run git lfs pull and upload again",
    ),
)
_HTML = (b"<!doctype html", b"<html")
_SVG = (b"<svg", b"<?xml")
_LOOKED_AT_BYTES = 512


def format_in_words(data: bytes) -> str:
    """Say what a file is that is neither JPEG, PNG nor WebP, and what to do."""
    name = next((name for signature, name in _OTHERS if data.startswith(signature)), None)
    if name is not None:
        return f"is {name}"
    name = _image_name(data)
    if name is not None:
        return f"is {name}: {_EXPORT}"
    return _of_no_signature(data[:_LOOKED_AT_BYTES])


def _of_no_signature(start: bytes) -> str:
    words = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "is an empty file: upload it again"
    if words.startswith(_HTML):
        return "is a web page, perhaps an error page in place of the image: download it again"
    if words.startswith(_SVG):
        return f"is SVG or XML: {_EXPORT}"
    if _is_text(start):
        return "is a text, not an image"
    if not any(start):
        return "holds zeros where an image begins, perhaps after a failed copy: upload it again"
    return f"is of an unknown format (it begins with {start[:12].hex(' ')}): {_EXPORT}"


def _image_name(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        brands = (data[at : at + 4] for at in (8, *range(16, 64, 4)))
        known = (_BRANDS[brand] for brand in brands if brand in _BRANDS)
        return next(known, None) or "a video (MP4 or QuickTime)"
    return next((name for signature, name in _IMAGES if data.startswith(signature)), None)


def _is_text(start: bytes) -> bool:
    if b"\0" in start:
        return False
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 3 and error.start > 0  # cut inside its last character
    return True
