"""Decode images within a limit of memory that all threads and processes of a machine share.

The first bytes decide the format, never the name. Pillow's plugins are used directly because
`Image.open` holds every file to one process-wide pixel limit; ours comes with the rules. The memory
that a decode holds is a measured upper bound; tests compare every format with it.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.media.formats import format_in_words
from influencerai_dagster.media.jpeg_segments import check_header, check_scans, is_one_scan
from influencerai_dagster.media.memory_budget import MemoryBudget
from influencerai_dagster.media.png_chunks import SIGNATURE as PNG_SIGNATURE
from influencerai_dagster.media.png_chunks import without_texts

DECODING = MemoryBudget("decoding", 1024**3)
# Pillow raises these on broken files. A MemoryError is not among them: the file may be fine.
BROKEN_IMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError),
    *(AssertionError, AttributeError, struct.error, zlib.error, Image.DecompressionBombError),
)
_ORIENTATION_TAG = 0x0112
_BYTES_PER_PIXEL = 14  # three images at a time, and masks
_WEBP_BYTES_PER_PIXEL = 24  # libwebp keeps two canvases and copies until the image is loaded
_JPEG_BYTES_PER_SAMPLE = 2  # coefficients of the whole image, unless one scan has them all


class TooLargeToDecodeError(PermanentError):
    """Decoding needs more memory than any image may have."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Format and size of an image by its header; EXIF orientation is not applied."""

    format: Literal["JPEG", "PNG", "WEBP"]
    width_px: int
    height_px: int


@dataclass(slots=True)
class Decoded:
    """The pixels of an image as they are stored, and its EXIF orientation, 1 to 8."""

    image: Image.Image
    orientation: int


def read_header(data: bytes) -> ImageHeader:
    """Return format and size of an image without decoding it.

    Raises:
        UnidentifiedImageError: it is not a JPEG, PNG or WebP; the text says what it is.
        One of BROKEN_IMAGE: it cannot be read.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageHeader("WEBP", *_webp_size(data))
    image = _open(data)
    image_format: Literal["JPEG", "PNG"] = "JPEG" if image.format == "JPEG" else "PNG"
    return ImageHeader(image_format, *image.size)


@contextmanager
def decoded(
    data: bytes, mode: Literal["L", "RGB"], *, scale_to_px: int | None = None
) -> Iterator[Decoded]:
    """Decode all pixels of an image, and hold the memory that working on it needs for the block.

    Args:
        data: JPEG, PNG or WebP; of an animation the first frame.
        mode: how a JPEG is decoded if it is scaled.
        scale_to_px: a JPEG may come smaller, with sides of at least so many pixels.

    Raises:
        TooLargeToDecodeError: it needs more memory than any image may have.
        TransientError: the machine has too little memory for it now.
        UnidentifiedImageError, or one of BROKEN_IMAGE: it cannot be read.
    """
    header = read_header(data)
    image: ImageFile | None = None
    num_pixels = header.width_px * header.height_px
    if header.format == "WEBP":
        cost = num_pixels * _WEBP_BYTES_PER_PIXEL
    else:
        image = _open(data)
        cost = num_pixels * _coefficient_bytes(data, image)
        if scale_to_px is not None:
            # A JPEG read at a smaller scale is still entropy-decoded to its last block, so a
            # truncated file fails as it does at full size, in half the time.
            image.draft(mode, (scale_to_px, scale_to_px))
        cost += image.width * image.height * _BYTES_PER_PIXEL
    size = f"{header.width_px}×{header.height_px} pixels"
    if cost > DECODING.total_bytes:
        raise TooLargeToDecodeError(
            f"{size} of {header.format} need {cost // 1024**2} MiB to decode; "
            f"{DECODING.total_bytes // 1024**2} MiB are allowed"
        )
    with DECODING.hold(cost):
        try:
            found = _load(_open(data) if image is None else image)
            del image
            yield found
        except MemoryError as error:
            raise TransientError(
                f"this machine has too little free memory for an image of {size}, which needs "
                f"{cost // 1024**2} MiB. Stop other programs or add memory."
            ) from error


def _load(image: ImageFile) -> Decoded:
    image.load()
    try:
        orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except BROKEN_IMAGE:
        orientation = 1  # broken EXIF is ignored: the pixels are fine
    # A copy lets go of the decoder, with the canvases that it keeps.
    return Decoded(image.copy() if image.format == "WEBP" else image, orientation)


def _open(data: bytes) -> ImageFile:
    from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415 - plugins take 0.1 s to import
    from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415 - as above
    from PIL.WebPImagePlugin import WebPImageFile  # noqa: PLC0415 - as above

    if data.startswith(b"\xff\xd8\xff"):
        check_header(data)
        return JpegImageFile(io.BytesIO(data))
    if data.startswith(PNG_SIGNATURE):
        return PngImageFile(io.BytesIO(without_texts(data)))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile(io.BytesIO(data))
    raise UnidentifiedImageError(format_in_words(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the canvas size; opening a WebP with Pillow allocates all of it."""
    kind = data[12:16]
    if kind == b"VP8X":
        wide, high = data[24:27] + b"\0", data[27:30] + b"\0"
        return struct.unpack("<I", wide)[0] + 1, struct.unpack("<I", high)[0] + 1
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise SyntaxError("it is a WebP without an image")


def _coefficient_bytes(data: bytes, image: ImageFile) -> int:
    """Return what the decoder keeps of each pixel until the last scan of a JPEG was read."""
    num_samples = len(image.getbands())
    if image.format != "JPEG" or is_one_scan(data, num_samples):
        return 0
    check_scans(data)
    return _JPEG_BYTES_PER_SAMPLE * num_samples
