r"""Reads kohya's progress bar from what it prints to stderr.

The bar is tqdm's, with \r between updates and two updates a step; log text may follow on the same
line, the time left starts as `?`, the loss may be `nan`, and other bars appear.
FACTS.md, "Progress".
"""

import re

from influencerai_dagster.domain.training import TrainingStep

_BAR = re.compile(
    r"steps:\s+\d+%\|[^|\r\n]*\|\s+(?P<step>\d+)/(?P<total>\d+)"
    r" \[[\d:]+<(?P<eta>[\d:?]+),(?P<rest>[^\]\r\n]*)\]"
)
_LOSS = re.compile(r"avr_loss=([^,\s]+)")
_LINE_END = re.compile(r"[\r\n]")
_MAX_PARTIAL_LENGTH = 10_000


class ProgressReader:
    """Turns chunks of stderr into steps; a step is reported once, and again when its loss comes."""

    def __init__(self) -> None:
        self._partial = ""
        self._last: tuple[str, ...] | None = None

    def feed(self, text: str) -> list[TrainingStep]:
        """Return the steps that this chunk adds; bars may be cut anywhere between chunks."""
        text = self._partial + text
        steps = [step for match in _BAR.finditer(text) if (step := self._new_step(match))]
        # After the last line end a bar may have begun; a whole bar that is seen twice is no news.
        self._partial = _LINE_END.split(text)[-1][-_MAX_PARTIAL_LENGTH:]
        return steps

    def _new_step(self, match: re.Match[str]) -> TrainingStep | None:
        loss = _LOSS.search(match["rest"])
        seen = (match["step"], loss[1] if loss else "")
        if seen == self._last:
            return None
        self._last = seen
        return TrainingStep(
            step=int(match["step"]),
            total_steps=int(match["total"]),
            loss=_number(loss[1]) if loss else None,
            eta_seconds=_seconds(match["eta"]),
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seconds(clock: str) -> float | None:
    if "?" in clock:
        return None
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return float(seconds)
