"""A colour is the same sRGB colour whatever kind of image holds it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from influencerai_dagster.media.images import upright_rgb
from influencerai_dagster_tests.testing.colour_profiles import display_p3, linear_grey

SKIN = (200, 90, 60)
SKIN_OF_P3 = (216, 81, 49)  # what lcms makes of it


def one_colour(colour: tuple[int, ...] | int, mode: str) -> Image.Image:
    return Image.new(mode, (400, 300), colour)


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def colour_of(data: bytes) -> tuple[int, ...]:
    with upright_rgb(data) as image:
        assert image.mode == "RGB"
        assert "icc_profile" not in image.info
        found = image.getpixel((200, 150))
    assert isinstance(found, tuple)
    return tuple(int(value) for value in found)


def near(one: tuple[int, ...], other: tuple[int, ...], by: int) -> bool:
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


SKIN_RGB, SKIN_RGBA = one_colour(SKIN, "RGB"), one_colour((*SKIN, 255), "RGBA")
SKIN_IMAGES: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "RGB PNG": (SKIN_RGB, "PNG", {}),
    "RGBA PNG": (SKIN_RGBA, "PNG", {}),
    "palette PNG": (SKIN_RGB.quantize(8), "PNG", {}),
    "palette PNG with a transparent colour": (SKIN_RGB.quantize(8), "PNG", {"transparency": 5}),
    "RGB PNG with a transparent colour": (SKIN_RGB, "PNG", {"transparency": (1, 2, 3)}),
    "RGB WEBP": (SKIN_RGB, "WEBP", {"lossless": True}),
    "RGBA WEBP": (SKIN_RGBA, "WEBP", {"lossless": True}),
    "JPEG": (SKIN_RGB, "JPEG", {"quality": 98}),
}


@pytest.mark.parametrize("name", SKIN_IMAGES)
def test_display_p3_is_turned_into_srgb_in_every_kind_of_image(name: str) -> None:
    image, image_format, options = SKIN_IMAGES[name]
    data = saved(image, image_format, icc_profile=display_p3(), **options)
    assert near(colour_of(data), SKIN_OF_P3, 2)
    without = saved(image, image_format, **options)
    assert near(colour_of(without), SKIN, 2), "without a profile the colours stay"


def test_colours_below_a_transparency_are_turned_before_they_are_laid_on_white() -> None:
    half = one_colour((*SKIN, 128), "RGBA")
    found = colour_of(saved(half, "PNG", icc_profile=display_p3()))
    expected = tuple(round(value * 128 / 255 + 127) for value in SKIN_OF_P3)
    assert near(found, expected, 3)


GREYS = {
    "grey JPEG": (one_colour(128, "L"), "JPEG"),
    "grey PNG": (one_colour(128, "L"), "PNG"),
    "grey PNG with transparency": (one_colour((128, 255), "LA"), "PNG"),
    "16-bit grey PNG": (Image.fromarray(np.full((300, 400), 128 * 257, np.uint16)), "PNG"),
}


@pytest.mark.parametrize("name", GREYS)
def test_a_profile_of_greys_is_applied_to_every_kind_of_grey(name: str) -> None:
    data = saved(*GREYS[name], icc_profile=linear_grey())
    assert near(colour_of(data), (188, 188, 188), 2)  # half of the light in sRGB


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_image_may_have_a_profile_of_colours(name: str) -> None:
    found = colour_of(saved(*GREYS[name], icc_profile=display_p3()))
    assert near(found, (128, 128, 128), 2), "greys of P3 are those of sRGB"


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        pytest.param(SKIN_RGB.convert("CMYK"), display_p3(), id="CMYK with a profile of RGB"),
        pytest.param(SKIN_RGB, linear_grey(), id="RGB with a profile of greys"),
        pytest.param(SKIN_RGB, b"no profile at all", id="broken"),
        pytest.param(SKIN_RGB, display_p3()[:200], id="cut"),
        pytest.param(SKIN_RGB, b"x" * 5_000_000, id="5 MB"),
    ],
)
def test_a_profile_that_does_not_belong_says_nothing(image: Image.Image, profile: bytes) -> None:
    plain = colour_of(saved(image, "JPEG", quality=98))
    assert colour_of(saved(image, "JPEG", quality=98, icc_profile=profile)) == plain
