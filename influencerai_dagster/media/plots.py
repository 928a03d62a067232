"""Plot PNGs for Dagster's metadata with matplotlib's Figure API: no pyplot, no global state."""

import io
import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE_INCHES = (6.4, 3.2)
_DPI = 100


def loss_curve_png(curve: Sequence[tuple[int, float]], *, title: str = "Training loss") -> bytes:
    """Draw (step, loss) as a line; a loss that is not finite is a gap marked in red.

    An empty curve gives empty axes.
    """
    figure = _figure()
    axes = figure.add_subplot()
    steps = [step for step, _ in curve]
    axes.plot(steps, [loss if math.isfinite(loss) else math.nan for _, loss in curve])
    bad_steps = [step for step, loss in curve if not math.isfinite(loss)]
    for step in bad_steps:
        axes.axvline(step, color="red", linewidth=0.8)
    axes.set(title=title, xlabel="step", ylabel="running mean loss")
    if bad_steps:
        axes.text(0.99, 0.95, "red: not finite", transform=axes.transAxes, ha="right", va="top")
    axes.grid(visible=True, alpha=0.3)
    return _png(figure)


def drill_history_png(
    drills: Sequence[tuple[datetime, float | None, float | None, bool]],
    *,
    rto_goal: float,
    rpo_goal: float,
) -> bytes:
    """Draw RTO and RPO in seconds over time, on logarithmic axes with their goals.

    Args:
        drills: (when, RTO seconds, RPO seconds or None if unknown, whether the backup was whole);
            a broken one is marked in red and has no RTO, whatever it is given.
        rto_goal: seconds.
        rpo_goal: seconds.
    """
    figure = _figure()
    axes = figure.add_subplot()
    rto = [(at, s) for at, s, _, is_valid in drills if is_valid and s is not None]
    rpo = [(at, s) for at, _, s, _ in drills if s is not None]
    for label, colour, points, goal in (
        ("RTO", "tab:blue", rto, rto_goal),
        ("RPO", "tab:orange", rpo, rpo_goal),
    ):
        times, seconds = [at for at, _ in points], [max(value, 0.1) for _, value in points]
        axes.plot(times, seconds, marker="o", color=colour, label=label)  # type: ignore[arg-type] # matplotlib takes times
        axes.axhline(goal, color=colour, linestyle="--", linewidth=0.8, label=f"{label} goal")
    for at in (at for at, _, _, is_valid in drills if not is_valid):
        axes.axvline(at, color="red", linewidth=0.8)  # type: ignore[arg-type] # as above
    axes.set(title="Restore drills (red: broken)", ylabel="seconds", yscale="log")
    axes.tick_params(axis="x", labelrotation=30)
    axes.legend(loc="center left", fontsize="small")
    axes.grid(visible=True, alpha=0.3)
    return _png(figure)


def _figure() -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - matplotlib takes 0.9 s to import

    return Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")


def _png(figure: "Figure") -> bytes:
    output = io.BytesIO()
    figure.savefig(output, format="png")
    return output.getvalue()
