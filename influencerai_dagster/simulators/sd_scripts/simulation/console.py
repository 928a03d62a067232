"""Print as sd-scripts does: Rich log lines and tqdm bars on stderr, the rest on stdout."""

import os
import sys
import time

_LEVEL_WIDTH = 8
_BLOCKS = " ▏▎▍▌▋▊▉█"
_BAR_WIDTH = 10
_SECONDS_PER_MINUTE = 60


class Console:
    """One program's output."""

    def __init__(self) -> None:
        self._last_stamp = ""

    def print_line(self, text: str) -> None:
        """Print a line on stdout."""
        print(text, flush=True)  # noqa: T201 - a program's output

    def log(self, level: str, text: str, where: str) -> None:
        """Print a log line; Rich leaves out a time that has not changed."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        stamp = now if now != self._last_stamp else ""
        self._last_stamp = now
        head = f"{stamp:<19} {level:<{_LEVEL_WIDTH}} "
        width = int(os.environ.get("COLUMNS", "80")) - len(head) - len(where) - 1
        self._write(f"{head}{text:<{max(width, 0)}} {where}\n")

    def write(self, text: str) -> None:
        """Print on stderr as it is."""
        self._write(text)

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Bar:
    """The progress bar `steps`; as tqdm draws it where no terminal is."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._started = time.monotonic()
        self._width = 0
        self.show(0, None)

    def show(self, step: int, loss: float | None) -> None:
        """Draw the bar; a shorter one is padded over the longer one before."""
        seconds = time.monotonic() - self._started
        left = _clock(seconds / step * (self._total - step)) if step else "?"
        postfix = "" if loss is None else f", avr_loss={loss:.3g}"
        fraction = step / self._total
        text = (
            f"steps: {fraction:4.0%}|{_blocks(fraction)}| {step}/{self._total}"
            f" [{_clock(seconds)}<{left}, {_rate(step, seconds)}{postfix}]"
        )
        self._console.write("\r" + text.ljust(self._width))
        self._width = len(text)

    def close(self) -> None:
        """End the line."""
        self._console.write("\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), _SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, _SECONDS_PER_MINUTE)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _rate(step: int, seconds: float) -> str:
    if not step or not seconds:
        return "?it/s"
    rate = step / seconds
    return f"{rate:5.2f}it/s" if rate > 1 else f"{1 / rate:5.2f}s/it"


def _blocks(fraction: float) -> str:
    eighths = int(fraction * _BAR_WIDTH * 8)
    full, part = divmod(eighths, 8)
    bar = _BLOCKS[-1] * full + (_BLOCKS[part] if full < _BAR_WIDTH else "")
    return bar.ljust(_BAR_WIDTH)
