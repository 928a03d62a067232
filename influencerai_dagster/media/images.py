"""Measure uploaded images, and normalise them for training.

training/datasets.py decides which uploads a dataset takes. decoding.py decodes an image, colours.py
converts its colours.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from influencerai_dagster.core.dataset_rules import DatasetRules, RejectReason
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.colours import to_srgb
from influencerai_dagster.media.decoding import (
    BROKEN_IMAGE,
    Decoded,
    ImageHeader,
    TooLargeToDecodeError,
    decoded,
    read_header,
)

_TRANSPOSITIONS = {  # what undoes each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}
_HASH_SIDE_PX = 256
_JPEG_OPTIONS = {"quality": 95, "subsampling": 0}
_PNG_OPTIONS = {"compress_level": 3}


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """An upload that decodes; width and height are those after EXIF orientation was applied.

    Attributes:
        format: "JPEG", "PNG" or "WEBP".
        perceptual_hash: 64 bits as 16 hex digits (pHash: the low frequencies of the DCT).
    """

    size_bytes: int
    sha256: str
    format: str
    width_px: int
    height_px: int
    perceptual_hash: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Why an upload cannot be used; `detail` says what was found."""

    reason: RejectReason
    detail: str


def measure_upload(data: bytes, rules: DatasetRules) -> MeasuredImage | Reject:
    """Decode an upload completely and measure it; an animation counts as its first frame.

    Its header is held to the pixel limit before a pixel is decoded, a JPEG is decoded only at the
    scale that the hash needs, and the memory is that of decoding.py.

    Raises:
        TransientError: the machine has too little memory for the image now.
    """
    if len(data) > rules.max_upload_size_bytes:
        found = f"{len(data)} bytes, allowed are {rules.max_upload_size_bytes}"
        return Reject(RejectReason.TOO_LARGE, found)
    try:
        header = read_header(data)
        problem = _size_problem(header, rules)
        if problem is not None:
            return problem
        with decoded(data, "L", scale_to_px=_HASH_SIDE_PX) as found_image:
            orientation = found_image.orientation
            perceptual_hash = _perceptual_hash(found_image)
    except UnidentifiedImageError as error:
        return Reject(RejectReason.NOT_AN_IMAGE, str(error))
    except TooLargeToDecodeError as error:
        return Reject(RejectReason.TOO_MANY_PIXELS, str(error))
    except BROKEN_IMAGE as error:
        return Reject(RejectReason.UNREADABLE, _reason(error))
    width_px, height_px = header.width_px, header.height_px
    if orientation in _SIDEWAYS:
        width_px, height_px = height_px, width_px
    return MeasuredImage(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        format=header.format,
        width_px=width_px,
        height_px=height_px,
        perceptual_hash=perceptual_hash,
    )


@contextmanager
def upright_rgb(data: bytes, *, scale_to_px: int | None = None) -> Iterator[Image.Image]:
    """Decode an image as people see it: turned as EXIF says, sRGB, transparency on white.

    It is an RGB image without EXIF or any other metadata. Its memory is held for the block, so
    keep no larger part of it, and decode no second image within.

    Args:
        data: JPEG, PNG or WEBP.
        scale_to_px: a JPEG may come smaller, with sides of at least so many pixels.

    Raises:
        PermanentError: it does not decode, or needs more memory than any image may have.
        TransientError: the machine has too little memory for it now.
    """
    with ExitStack() as stack:
        try:
            found = stack.enter_context(decoded(data, "RGB", scale_to_px=scale_to_px))
            found.image = to_srgb(found.image)
            found.image = _upright(found.image, found.orientation)
        except BROKEN_IMAGE as error:
            raise PermanentError(f"an image cannot be decoded: {_reason(error)}") from error
        yield found.image


def normalised_image(data: bytes, *, max_side_px: int | None = None) -> bytes:
    """Return the image as training receives it: `upright_rgb`, as a JPEG or a PNG.

    EXIF is removed, and with it location, camera and serial numbers. A JPEG is written with
    quality 95; PNG and WEBP as PNG, which is lossless and costs less memory than WEBP.

    Args:
        data: an upload that `measure_upload` accepted.
        max_side_px: a larger image is scaled down.

    Raises:
        PermanentError: it does not decode.
        TransientError: the machine has too little memory for it now.
    """
    output = io.BytesIO()
    with upright_rgb(data, scale_to_px=max_side_px) as image:
        if max_side_px is not None:
            image.thumbnail((max_side_px, max_side_px))
        if data.startswith(b"\xff\xd8\xff"):
            image.save(output, "JPEG", **_JPEG_OPTIONS)
        else:
            image.save(output, "PNG", **_PNG_OPTIONS)
    return output.getvalue()


def near_duplicates(hashes: Sequence[str], max_bits: int) -> dict[int, int]:
    """Return for each image that looks like an earlier one the index of that earlier one.

    The first image of a group stays and is what the others are compared with, so that a chain of
    small changes is not taken for one image. 5,000 hashes take about 0.1 s.

    Args:
        hashes: perceptual hashes, 16 hex digits each, in the order that decides who is first.
        max_bits: hashes that differ in at most so many of 64 bits look alike.
    """
    import numpy as np  # noqa: PLC0415 - numpy takes 0.2 s to import

    bits = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    kept = np.empty(len(bits), dtype=np.intp)
    num_kept = 0
    earlier: dict[int, int] = {}
    for index, value in enumerate(bits):
        distances = np.bitwise_count(bits[kept[:num_kept]] ^ value)
        alike = np.flatnonzero(distances <= max_bits)
        if alike.size:
            earlier[index] = int(kept[alike[0]])
        else:
            kept[num_kept] = index
            num_kept += 1
    return earlier


def _size_problem(header: ImageHeader, rules: DatasetRules) -> Reject | None:
    size = f"{header.width_px}×{header.height_px} pixels"
    if header.width_px * header.height_px > rules.max_pixels:
        found = f"{size}; MAX_IMAGE_PIXELS is {rules.max_pixels}: scale it down"
        return Reject(RejectReason.TOO_MANY_PIXELS, found)
    if min(header.width_px, header.height_px) < rules.min_side_px:
        found = f"{size}, the shorter side needs {rules.min_side_px}"
        return Reject(RejectReason.TOO_SMALL, found)
    return None


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return (
        image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image
    )


def _perceptual_hash(found: Decoded) -> str:
    import imagehash  # noqa: PLC0415 - imagehash takes 0.1 s to import

    small = found.image
    if small.mode in {"L", "RGB", "RGBA"}:
        small = small.resize((_HASH_SIDE_PX, _HASH_SIDE_PX), Image.Resampling.BOX)
    small.info.pop("icc_profile", None)  # a hash of shapes: colours need not be exact
    upright = _upright(to_srgb(small), found.orientation)
    return str(imagehash.phash(upright.resize((_HASH_SIDE_PX, _HASH_SIDE_PX))))


def _reason(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
