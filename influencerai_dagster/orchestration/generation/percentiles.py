"""Percentiles of measured seconds, as reports show them."""

from collections.abc import Sequence
from statistics import quantiles


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the value below which `percent` of all values lie; None without any.

    Between two values it is interpolated, as PostgreSQL's percentile_cont does.

    Args:
        percent: 1 to 99.
    """
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
