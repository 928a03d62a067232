"""Sheets show every image with its label, stay small, and never need all images at once."""

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from influencerai_dagster.media.contact_sheets import (
    MAX_DATA_URI_BYTES,
    MAX_THUMBNAILS,
    contact_sheet,
    data_uri,
    grid,
    markdown_image,
    png_data_uri,
)


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        return image.convert("RGB")


def saved(image: Image.Image, image_format: str = "PNG") -> bytes:
    output = io.BytesIO()
    image.save(output, image_format)
    return output.getvalue()


RED = Image.new("RGB", (200, 100), (220, 0, 0))
BLUE = Image.new("RGB", (100, 200), (0, 0, 220))


def is_near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    return all(abs(one - other) < 40 for one, other in zip(found, colour, strict=True))


def test_images_stand_row_by_row_whether_given_as_files_or_images() -> None:
    sheet = opened(contact_sheet([("a", RED), ("b", saved(BLUE)), ("c", RED)], 2, 100))
    assert sheet.size == (2 * 104 + 4, 2 * 122 + 4)
    assert is_near(sheet, (54, 54), (220, 0, 0))
    assert is_near(sheet, (158, 54), (0, 0, 220))
    assert is_near(sheet, (54, 176), (220, 0, 0))
    assert is_near(sheet, (158, 176), (255, 255, 255))


def test_a_sheet_takes_no_more_images_than_it_shows() -> None:
    taken = []

    def images() -> Iterator[tuple[str, Image.Image]]:
        for number in range(5000):
            taken.append(number)
            yield str(number), RED

    assert opened(contact_sheet(images(), 10, 32)).size[0] == 10 * 36 + 4
    assert len(taken) == MAX_THUMBNAILS


def test_a_sheet_of_nothing_is_an_empty_page() -> None:
    assert is_near(opened(contact_sheet([], 4, 50)), (20, 20), (255, 255, 255))


def test_an_image_that_does_not_decode_leaves_a_grey_cell() -> None:
    sheet = opened(contact_sheet([("broken", b"no image"), ("a", RED)], 2, 100))
    assert is_near(sheet, (54, 54), (224, 224, 224))
    assert is_near(sheet, (158, 54), (220, 0, 0))


@pytest.mark.parametrize(
    "label", ["x" * 300, "日本語 é", "a\nb\0c", ""], ids=["long", "other script", "control", "none"]
)
def test_a_label_stays_within_its_place(label: str) -> None:
    sheet = opened(contact_sheet([(label, RED), ("", RED)], 2, 60))
    place_of_second_label = sheet.crop((72, 64, 128, 82)).convert("L")
    assert min(place_of_second_label.tobytes()) > 200


def test_a_grid_has_a_cell_for_every_row_and_column() -> None:
    sheet = opened(grid(["prompt 1", "prompt 2"], ["0.6", "1.0"], [RED, BLUE, None, RED]))
    assert is_near(sheet, (100, 132), (220, 0, 0))
    assert is_near(sheet, (296, 132), (0, 0, 220))
    assert is_near(sheet, (100, 346), (224, 224, 224))
    assert is_near(sheet, (296, 346), (220, 0, 0))


def test_a_grid_refuses_a_wrong_number_of_images() -> None:
    with pytest.raises(ValueError, match="3 images do not fill 2 rows × 2 columns"):
        grid(["1", "2"], ["1", "2"], [RED, BLUE, RED])


@pytest.mark.parametrize("side_px", [64, 1500], ids=["small", "too big"])
def test_a_data_uri_is_small_enough_for_the_event_log(side_px: int) -> None:
    jpeg = saved(Image.effect_noise((side_px, side_px), 90), "JPEG")
    uri = data_uri(jpeg)
    assert len(uri) <= MAX_DATA_URI_BYTES
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    back = base64.b64decode(body)
    assert (back == jpeg) == (side_px == 64)
    assert opened(back).size[0] <= side_px


def test_markdown_shows_the_image_and_its_words_cannot_break_out() -> None:
    assert markdown_image("data:x", "a](b)\n[c") == "![a (b)  c](data:x)"
    assert png_data_uri(b"png") == "data:image/png;base64,cG5n"
