r"""Parse kohya's progress bar from its stderr.

The bar is tqdm's, with \r between updates. A step is drawn twice: when it is done, still with the
loss of the step before, and when its own loss is known; a fast one is drawn only the second time.
Log text may follow on the same line, the time left starts as `?`, the loss may be `nan`, and other
bars appear. Source: docs/protocols/kohya.md, point 17.
"""

import re

from influencerai_dagster.core.lora_training import TrainingStep

_BAR = re.compile(
    r"steps:\s+\d+%\|[^|\r\n]*\|\s+(?P<step>\d+)/(?P<total>\d+)"
    r" \[[\d:]+<(?P<eta>[\d:?]+),(?P<rest>[^\]\r\n]*)\]"
)
_LOSS = re.compile(r"avr_loss=([^,\s]+)")
_LINE_END = re.compile(r"[\r\n]")
_MAX_PARTIAL_LENGTH = 10_000


class ProgressReader:
    """Turns chunks of stderr into steps, each with its own loss."""

    def __init__(self) -> None:
        self._partial = ""
        self._drawn: TrainingStep | None = None
        self._is_told = False

    def feed(self, text: str) -> list[TrainingStep]:
        """Return the steps that are known now; bars may be cut anywhere between chunks."""
        text = self._partial + text
        steps, end = [], 0
        for match in _BAR.finditer(text):
            steps += self._draw(_step(match))
            end = match.end()
        # After the last bar or line end another bar may have begun.
        self._partial = _LINE_END.split(text[end:])[-1][-_MAX_PARTIAL_LENGTH:]
        return steps

    def end(self) -> list[TrainingStep]:
        """Return the last step if it was drawn once only; for a program that has ended well."""
        found = [] if self._drawn is None or self._is_told else [self._drawn]
        self._drawn = None
        return found

    def _draw(self, step: TrainingStep) -> list[TrainingStep]:
        """Take in a bar; return the steps whose loss it makes known."""
        before, self._drawn = self._drawn, step
        if before is None or before.step != step.step:
            was_told, self._is_told = self._is_told, False
            return [] if before is None or was_told else [before]
        is_new = not self._is_told or repr(before.loss) != repr(step.loss)  # nan is not nan
        self._is_told = True
        return [step] if is_new else []


def _step(match: re.Match[str]) -> TrainingStep:
    loss = _LOSS.search(match["rest"])
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
