"""Find the real cause in the output of an sd-scripts program, and hide secrets in it.

The cause is the last line of the program's own traceback: accelerate ends stderr with a second one
that only repeats the command line, with any token on it (docs/protocols/kohya.md, point 5). What a
cause means is in failures.py.
"""

import re
from dataclasses import dataclass

_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = re.compile(
    r"\n(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):\n+$"
)
_EXCEPTION_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")
_LAUNCHER = re.compile(r"^subprocess\.CalledProcessError: Command ")
_USAGE_ERROR = re.compile(r"^\S+\.py: error: .+$", re.MULTILINE)
_NO_DATA = re.compile(r"ERROR +(No data found\.)")
_NEXT_OUTPUT = re.compile(r"^(?:\S[^|]*:?\s*\d+%\||\d{4}-\d\d-\d\d |\s|$)")
# Each keeps its first group and hides the rest.
_SECRETS = (
    re.compile(r"()\b(?:hf_|sk-)[\w-]{8,}"),
    re.compile(r"(://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"(?i)(\bbearer )\S+"),
    re.compile(r"(?i)((?:token|api_key|password|secret)['\"]?\s*[=:,]\s*['\"]?)[^\s'\",]+"),
    re.compile(r"(?i)(--\w*(?:token|api_key|password|secret)\s+)\S+"),
)


@dataclass(frozen=True)
class Cause:
    """Why a program failed.

    Attributes:
        line: the exception, or what was printed in its place.
        context: the traceback it ends, with those it was raised from.
    """

    line: str
    context: str


def real_cause(stderr: str) -> Cause | None:
    """Return the program's own last exception, not its launcher's; None if it gave no reason."""
    text = stderr.replace("\r", "\n")
    start = 0
    causes: list[Cause] = []
    pieces = text.split(_TRACEBACK)
    for index, piece in enumerate(pieces[1:], start=1):
        if not _CHAINED.search(pieces[index - 1]):
            start = index
        line = _exception(piece)
        if line and not _LAUNCHER.match(line):
            causes.append(Cause(line, _TRACEBACK.join(pieces[start:index]) + piece + line))
    if causes:
        return causes[-1]
    for pattern in (_USAGE_ERROR, _NO_DATA):
        if match := pattern.search(text):
            line = match[match.re.groups]
            return Cause(line, line)
    return None


def redacted(text: str) -> str:
    """Return the text without tokens, keys and passwords."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1(hidden)", text)
    return text


def _exception(piece: str) -> str:
    """Return the exception that ends a traceback; its message may have several lines."""
    lines = piece.split("\n")
    for number, line in enumerate(lines):
        if _EXCEPTION_LINE.match(line):
            more = []
            for following in lines[number + 1 : number + 4]:
                if _NEXT_OUTPUT.match(following):
                    break
                more.append(following)
            return " ".join([line, *more]).strip()
    return ""
