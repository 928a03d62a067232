"""A file that is not an accepted image is named as people name it, with what to do."""

import io

import pytest
from PIL import Image

from influencerai_dagster.core.dataset_rules import DatasetRules, RejectReason
from influencerai_dagster.media.images import Reject, measure_upload


def saved(image_format: str) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (300, 300), (200, 90, 60)).save(output, image_format)
    return output.getvalue()


def of_brand(brand: bytes, *compatible: bytes) -> bytes:
    return b"\0\0\0\x20ftyp" + brand + bytes(4) + b"".join(compatible) + bytes(400)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (of_brand(b"heic", b"mif1", b"heic"), "is HEIC (of an iPhone): export it as JPEG or PNG"),
        (of_brand(b"mif1", b"mif1", b"heic"), "is HEIF: export it"),
        (of_brand(b"avif"), "is AVIF: export it"),
        (saved("AVIF"), "is AVIF: export it"),
        (of_brand(b"crx "), "RAW file of a camera (CR3): export it"),
        (of_brand(b"isom", b"mp42"), "is a video (MP4 or QuickTime)"),
        (of_brand(b"qt  "), "is a video (MP4 or QuickTime)"),
        (saved("GIF"), "is GIF: export it"),
        (saved("BMP"), "is BMP: export it"),
        (saved("TIFF"), "is TIFF, or a RAW file of a camera: export it"),
        (saved("JPEG2000"), "is JPEG 2000: export it"),
        (b"\xff\x0a" + bytes(99), "is JPEG XL: export it"),
        (b"8BPS" + bytes(99), "is a Photoshop file: export it"),
        (b"%PDF-1.7", "is PDF: export it"),
        (b"\x1a\x45\xdf\xa3" + bytes(99), "is a video (Matroska or WebM)"),
        (b"PK\3\4" + bytes(99), "is a ZIP archive: unpack it"),
        (b"<!DOCTYPE html><html>403</html>", "is a web page"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "is SVG or XML: export it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("notes, café".encode(), "is a text, not an image"),
        (b"", "is an empty file: upload it again"),
        (bytes(1000), "holds zeros"),
        (b"\xde\xad\xbe\xef" * 9, "unknown format (it begins with de ad be ef"),
    ],
)
def test_a_file_of_another_format_is_named_in_words(data: bytes, said: str) -> None:
    result = measure_upload(data, DatasetRules())
    assert isinstance(result, Reject)
    assert result.reason is RejectReason.NOT_AN_IMAGE
    assert said in result.detail
