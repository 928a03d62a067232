"""Plots are PNG files that show what they were given."""

import io
import math
import sys
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from influencerai_dagster.media.plots import drill_history_png, loss_curve_png


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def count_red(image: Image.Image) -> int:
    data = image.tobytes()
    pixels = zip(data[::3], data[1::3], data[2::3], strict=True)
    return sum(red > 200 and green < 80 and blue < 80 for red, green, blue in pixels)


@pytest.mark.parametrize(
    ("curve", "is_marked"),
    [
        ([(step, 1 / (step + 1)) for step in range(50)], False),
        ([(1, 0.3)], False),
        ([], False),
        ([(1, 0.3), (2, math.nan), (3, math.inf)], True),
    ],
    ids=["curve", "one point", "empty", "not finite"],
)
def test_a_loss_curve_marks_losses_that_are_not_finite(
    curve: list[tuple[int, float]], *, is_marked: bool
) -> None:
    image = opened(loss_curve_png(curve))
    assert image.size == (640, 320)
    assert (count_red(image) > 100) == is_marked


def test_no_global_state_of_pyplot_is_touched() -> None:
    loss_curve_png([(1, 1.0)])
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("is_valid", [True, False], ids=["whole", "broken"])
def test_a_history_of_drills_marks_a_broken_backup(*, is_valid: bool) -> None:
    first = datetime(2026, 11, 1, tzinfo=UTC)
    drills = [(first, 60.0, 5.0, True), (first + timedelta(days=7), 65.0, None, is_valid)]
    image = opened(drill_history_png(drills, rto_goal=14_400, rpo_goal=21_600))
    assert (count_red(image) > 100) == (not is_valid)


def test_a_drill_of_a_broken_backup_has_no_rto_in_the_history() -> None:
    whole, later = (datetime(2026, 11, day, tzinfo=UTC) for day in (1, 8))
    drawn = [
        drill_history_png(
            [(whole, 60.0, 5.0, True), (later, rto, 5.0, False)], rto_goal=14_400, rpo_goal=21_600
        )
        for rto in (0.1, None)
    ]
    assert drawn[0] == drawn[1]
