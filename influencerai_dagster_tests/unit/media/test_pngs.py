"""Measuring a PNG without decoding it."""

import io

import pytest
from PIL import Image

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.pngs import is_one_colour, png_size
from influencerai_dagster_tests.testing.photos import zip_bomb_png


def _one_colour(size: tuple[int, int]) -> bytes:
    output = io.BytesIO()
    Image.new("L", size).save(output, "PNG")
    return output.getvalue()


def test_a_png_of_one_colour_is_told_from_an_image() -> None:
    assert is_one_colour(_one_colour((64, 64)))
    assert not is_one_colour(_encoded())


def test_a_png_that_needs_more_memory_than_any_image_may_have_is_refused_undecoded() -> None:
    with pytest.raises(PermanentError, match="50000×50000 pixels of PNG need"):
        is_one_colour(zip_bomb_png())


def _encoded(image_format: str = "PNG") -> bytes:
    output = io.BytesIO()
    Image.effect_noise((48, 32), 50).save(output, image_format)
    return output.getvalue()


def test_a_png_tells_its_width_and_height() -> None:
    assert png_size(_encoded()) == (48, 32)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_a_png_that_is_cut_off_is_refused(place: float) -> None:
    data = _encoded()
    with pytest.raises(PermanentError, match="not a complete PNG"):
        png_size(data[: int(place * len(data))])


@pytest.mark.parametrize("place", [0.01, 0.5, 0.95])
def test_a_png_with_one_wrong_bit_is_refused(place: float) -> None:
    data = bytearray(_encoded())
    data[int(place * len(data))] ^= 1
    with pytest.raises(PermanentError, match="not a complete PNG"):
        png_size(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"SIMULATED", _encoded("JPEG")], ids=["none", "text", "jpeg"]
)
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(PermanentError, match="not a complete PNG"):
        png_size(data)
