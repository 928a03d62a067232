"""Measures uploaded images and makes what training receives of them.

Which uploads a dataset takes is decided in stages/datasets.py by the rules of domain/quality.py.
Formats are told by their first bytes, never by a name. Pillow's plugins are used directly because
`Image.open` holds every file to one process-wide pixel limit; ours comes with the rules.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from influencerai_dagster.domain.quality import DatasetRules, RejectReason
from influencerai_dagster.errors import PermanentError

_ORIENTATION_TAG = 0x0112
_TURNS = {  # what undoes each EXIF orientation
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
_SAVE_OPTIONS: dict[str, dict[str, int | bool]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {"compress_level": 3},
    "WEBP": {"lossless": True, "quality": 30, "method": 1},
}


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

    Its header is held to the pixel limit before a pixel is decoded. One image is in memory at a
    time, a JPEG only at the scale that the hash needs.
    """
    if len(data) > rules.max_upload_size_bytes:
        found = f"{len(data)} bytes, allowed are {rules.max_upload_size_bytes}"
        return Reject(RejectReason.TOO_LARGE, found)
    try:
        image = _open(data)
        width_px, height_px = image.size
        problem = _size_problem(width_px, height_px, rules)
        if problem is not None:
            return problem
        orientation = _load(image, "L", scale_to_px=_HASH_SIDE_PX)
        perceptual_hash = _perceptual_hash(image, orientation)
    except UnidentifiedImageError as error:
        return Reject(RejectReason.NOT_AN_IMAGE, str(error))
    except Exception as error:  # noqa: BLE001 - Pillow raises a dozen kinds on broken files
        return Reject(RejectReason.UNREADABLE, _told(error))
    if orientation in _SIDEWAYS:
        width_px, height_px = height_px, width_px
    return MeasuredImage(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        format=str(image.format),
        width_px=width_px,
        height_px=height_px,
        perceptual_hash=perceptual_hash,
    )


def upright_rgb(data: bytes, *, scale_to_px: int | None = None) -> Image.Image:
    """Decode an image as people see it: turned as EXIF says, sRGB, transparency on white.

    Args:
        data: JPEG, PNG or WEBP.
        scale_to_px: a JPEG may come smaller, with sides of at least so many pixels.

    Returns:
        An RGB image without EXIF or any other metadata.

    Raises:
        PermanentError: it does not decode.
    """
    try:
        image = _open(data)
        orientation = _load(image, "RGB", scale_to_px=scale_to_px)
        return _turn(_to_rgb(_to_srgb(image)), orientation)
    except Exception as error:
        raise PermanentError(f"an image cannot be decoded: {_told(error)}") from error


def normalised_image(data: bytes) -> bytes:
    """Return the image as training receives it: `upright_rgb`, in its own format.

    EXIF is gone, and with it place, camera and serial numbers. PNG and WEBP stay lossless, JPEG is
    written with quality 95.

    Args:
        data: an upload that `measure_upload` accepted.

    Raises:
        PermanentError: it does not decode.
    """
    image = upright_rgb(data)
    image_format = str(_open(data).format)
    output = io.BytesIO()
    image.save(output, image_format, **_SAVE_OPTIONS[image_format])
    return output.getvalue()


def near_duplicates(hashes: Sequence[str], max_bits: int) -> dict[int, int]:
    """Return for each image that looks like an earlier one the index of that earlier one.

    The first image of a group stays and is what the others are compared with, so that a chain of
    small changes is not taken for one picture. 5,000 hashes take about 0.1 s.

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


def _open(data: bytes) -> ImageFile:
    from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415 - plugins take 0.1 s to import
    from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415 - as above
    from PIL.WebPImagePlugin import WebPImageFile  # noqa: PLC0415 - as above

    file = io.BytesIO(data)
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile(file)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile(file)
    raise UnidentifiedImageError(f"it starts with {data[:12]!r}, not as JPEG, PNG or WEBP do")


def _size_problem(width_px: int, height_px: int, rules: DatasetRules) -> Reject | None:
    size = f"{width_px}×{height_px} pixels"
    if width_px * height_px > rules.max_pixels:
        return Reject(RejectReason.TOO_MANY_PIXELS, f"{size}, allowed are {rules.max_pixels}")
    if min(width_px, height_px) < rules.min_side_px:
        found = f"{size}, the shorter side needs {rules.min_side_px}"
        return Reject(RejectReason.TOO_SMALL, found)
    return None


def _load(image: ImageFile, mode: Literal["L", "RGB"], *, scale_to_px: int | None) -> int:
    """Decode all pixels and return the EXIF orientation, 1 to 8."""
    if scale_to_px is not None:
        # A JPEG read at a smaller scale is still entropy-decoded to its last block, so a truncated
        # file fails as it does at full size, in half the time.
        image.draft(mode, (scale_to_px, scale_to_px))
    image.load()
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - broken EXIF is no EXIF: the pixels are fine
        return 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert from an embedded colour profile (phones write Display P3), which is then dropped."""
    from PIL import ImageCms  # noqa: PLC0415 - few images have a profile

    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "CMYK"}:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile says nothing


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return a new RGB image without any metadata, transparency laid on white."""
    if image.mode.startswith("I"):  # 16-bit greys
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        image = Image.new("RGBA", image.size, "white")
        image.alpha_composite(with_alpha)
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb


def _perceptual_hash(image: ImageFile, orientation: int) -> str:
    import imagehash  # noqa: PLC0415 - imagehash takes 0.1 s to import

    small: Image.Image = image
    if image.mode in {"L", "RGB", "RGBA"}:
        small = image.resize((_HASH_SIDE_PX, _HASH_SIDE_PX), Image.Resampling.BOX)
    turned = _turn(_to_rgb(small), orientation)
    return str(imagehash.phash(turned.resize((_HASH_SIDE_PX, _HASH_SIDE_PX))))


def _told(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
