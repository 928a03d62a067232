"""Convert colours of every kind to sRGB as people see them; transparency becomes white."""

import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile

_MODE_OF_PROFILE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(image: Image.Image) -> Image.Image:
    """Return an RGB image without any metadata, its embedded colour profile applied.

    Phones and screenshots of a Mac are Display P3, whatever their mode: a palette's colours, greys
    and the colours below a transparency are in the profile's space too. A profile that is broken,
    or that is for another kind of colour than the image has, says nothing.
    """
    profile, alpha = image.info.get("icc_profile"), _alpha(image)
    image.info.pop("transparency", None)  # it is in `alpha` now
    image = _eight_bit(image)
    if profile:
        image = _converted(image, profile)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        image = white
    image.info = {}
    return image


def _alpha(image: Image.Image) -> Image.Image | None:
    if not image.has_transparency_data:
        return None
    if image.mode not in {"RGBA", "LA"}:
        image = image.convert("RGBA")
    return image.getchannel("A")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return an opaque image of mode L, RGB or CMYK."""
    if image.mode.startswith("I"):  # 16-bit greys
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in {"L", "RGB", "CMYK"}:
        return image
    return image.convert("L" if image.mode in {"1", "LA"} else "RGB")


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms  # noqa: PLC0415 - few images have a profile

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODE_OF_PROFILE.get(source.profile.xcolor_space.strip())
        if mode is None or (mode != image.mode and (mode, image.mode) != ("RGB", "L")):
            return image
        if mode != image.mode:
            image = image.convert(mode)
        return _profile_to_srgb(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _profile_to_srgb(image: Image.Image, source: "ImageCmsProfile") -> Image.Image:
    from PIL import ImageCms  # noqa: PLC0415 - as above

    target = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
