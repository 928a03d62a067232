"""Images and tables as the UI gets them."""

import base64
import io

import dagster as dg
import pytest
from PIL import Image

from influencerai_dagster.orchestration.metadata import inline_image, table


def image(image_format: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(data, image_format)
    return data.getvalue()


@pytest.mark.parametrize(
    ("image_format", "media_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png")]
)
def test_an_image_is_markdown_that_holds_its_bytes(image_format: str, media_type: str) -> None:
    value = inline_image(image(image_format), "a red square")

    head, _, data = (value.md_str or "").partition(";base64,")
    assert head == f"![a red square](data:{media_type}"
    with Image.open(io.BytesIO(base64.b64decode(data.rstrip(")")))) as shown:
        assert (shown.format, shown.size) == (image_format, (4, 4))


def test_rows_are_a_table_with_their_names() -> None:
    value = table([{"file_name": "a.jpg", "reason": "too_small"}])
    assert isinstance(value, dg.TableMetadataValue)
    assert [record.data for record in value.records] == [
        {"file_name": "a.jpg", "reason": "too_small"}
    ]


def test_no_rows_are_a_word_because_dagster_has_no_empty_table() -> None:
    assert table([]) == "none"
