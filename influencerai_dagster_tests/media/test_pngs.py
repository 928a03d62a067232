"""Measuring a PNG without decoding it."""

import io

import pytest
from PIL import Image

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.pngs import png_size


def _encoded(image_format: str = "PNG") -> bytes:
    output = io.BytesIO()
    Image.effect_noise((48, 32), 50).save(output, image_format)
    return output.getvalue()


def test_a_png_tells_its_width_and_height() -> None:
    assert png_size(_encoded()) == (48, 32)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_a_png_that_is_cut_off_is_refused(place: float) -> None:
    data = _encoded()
    with pytest.raises(PermanentError, match="no whole PNG"):
        png_size(data[: int(place * len(data))])


@pytest.mark.parametrize("place", [0.01, 0.5, 0.95])
def test_a_png_with_one_wrong_bit_is_refused(place: float) -> None:
    data = bytearray(_encoded())
    data[int(place * len(data))] ^= 1
    with pytest.raises(PermanentError, match="no whole PNG"):
        png_size(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"SIMULATED", _encoded("JPEG")], ids=["none", "text", "jpeg"]
)
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(PermanentError, match="no whole PNG"):
        png_size(data)
