"""Percentiles of seconds."""

import pytest

from influencerai_dagster.orchestration.generation.metadata import percentile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param([3.0], 95, 3.0, id="one value"),
        pytest.param([2.0, 1.0], 50, 1.5, id="between two"),
        pytest.param([5.0, 1.0, 3.0], 50, 3.0, id="unsorted"),
        pytest.param([float(value) for value in range(101)], 95, 95.0, id="p95"),
    ],
)
def test_a_percentile_is_the_value_that_so_many_lie_below(
    values: list[float], percent: int, expected: float
) -> None:
    assert percentile(values, percent) == pytest.approx(expected)


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 50) is None
