"""What rclone tells: the lines of its log, how far a copy is, and its errors as ours.

Follows rclone.org/docs (--use-json-log, exit codes); how it is run lives in rclone.py.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)

DIRECTORY_NOT_FOUND = 3
_FATAL = 7
_SHOWN = 2000
_PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")
"""rclone writes a file under such a name first, and may call it so in its errors."""
_NO_SPACE = (
    "no space left",
    "remaining disk space",  # a file could not be preallocated
    "disk quota",
    "quotaexceeded",
    "storagefull",
    "insufficientstorage",
)
_DENIED = ("accessdenied", "signaturedoesnotmatch", "invalidaccesskeyid", "nosuchbucket")


@dataclass(frozen=True)
class CopyProgress:
    """How far a copy is.

    Attributes:
        total_bytes: of what is known so far to need copying.
        num_checked: objects that were compared and need no copy.
        eta_seconds: None while nobody can tell.
    """

    copied_bytes: int
    total_bytes: int
    num_copied: int
    num_to_copy: int
    num_checked: int
    bytes_per_second: float
    eta_seconds: float | None


@dataclass
class CopyResult:
    """What one copy did.

    Attributes:
        copied: key → bytes, new and replaced.
        failures: key → why it could not be copied.
        problems: errors that name no object.
    """

    copied: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def note(
    result: CopyResult, event: Mapping[str, Any], on_progress: Callable[[CopyProgress], None]
) -> None:
    """Take in one line of the log."""
    key, message = event.get("object"), str(event.get("msg", "")).strip()
    if "stats" in event:
        on_progress(_progress(event["stats"]))
    elif event.get("level") in {"error", "critical"}:
        if key:
            result.failures[_PARTIAL.sub("", key)] = message
        elif not message.startswith("Attempt "):
            result.problems.append(message)
    elif key and message.startswith("Copied"):
        result.copied[key] = int(event.get("size", 0))


def _progress(stats: Mapping[str, Any]) -> CopyProgress:
    return CopyProgress(
        copied_bytes=stats["bytes"],
        total_bytes=stats["totalBytes"],
        num_copied=stats["transfers"],
        num_to_copy=stats["totalTransfers"],
        num_checked=stats["checks"],
        bytes_per_second=stats["speed"],
        eta_seconds=stats["eta"],
    )


def parsed(line: str) -> Mapping[str, Any]:
    """Return a line of the log; one that is no JSON is an error of the program itself."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"level": "error", "msg": line}


def messages(log: str) -> str:
    """Return the words of a log."""
    return "\n".join(str(parsed(line).get("msg", "")).strip() for line in log.splitlines())


def failure(command: Sequence[str], code: int, words: str) -> InfluencerAIError:
    """Return the error of a run that ended badly, with rclone's own words."""
    text = f"rclone {command[0]} {command[1]} failed (exit code {code}): {words[-_SHOWN:]}"
    plain = words.lower().replace("_", "")
    if any(word in plain for word in _NO_SPACE):
        return InsufficientStorageError(f"{text}; free space there and try again")
    if code in {DIRECTORY_NOT_FOUND, _FATAL} or any(word in plain for word in _DENIED):
        return PermanentError(f"{text}; check the bucket or folder and its keys")
    return TransientError(f"{text}; try again, what was copied stays")
