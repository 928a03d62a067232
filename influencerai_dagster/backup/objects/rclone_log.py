"""Parse rclone's output: its log, comparison and progress as values, its errors as ours.

Follows rclone.org/docs (--use-json-log, exit codes) and rclone.org/commands/rclone_copy (--combined
and --dest-after); it is run in rclone.py.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from influencerai_dagster.backup.objects.rclone_names import plain_key
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
"""The name of a file while rclone writes it, which its errors may contain."""
_NOT_OBJECTS = ("string", "Fs")
"""Types in errors that are not objects: a folder or bucket that could not be listed."""
_SUMMARIES = ("Attempt ", "Can't retry ")
"""Beginnings of errors that only announce other errors."""
_COPIED = ("Copied", "Multi-thread Copied")
_LEFT_OUT = "Duplicate object found in source"
_NO_SPACE = (
    "no space left",
    "remaining disk space",  # a file could not be preallocated
    "disk quota",
    "quotaexceeded",
    "storagefull",
    "insufficientstorage",
)
_DENIED = (
    *("accessdenied", "signaturedoesnotmatch", "invalidaccesskeyid", "nosuchbucket"),
    "is a file not a directory",  # of a bucket that may not be listed
)


@dataclass(frozen=True)
class CopyProgress:
    """Progress of a copy.

    Attributes:
        total_bytes: to be copied, as far as rclone has compared.
        num_checked: objects that were compared and need no copy.
        eta_seconds: None while it is unknown.
    """

    copied_bytes: int
    total_bytes: int
    num_copied: int
    num_to_copy: int
    num_checked: int
    bytes_per_second: float
    eta_seconds: float | None


@dataclass(frozen=True)
class ListedObject:
    """One object as rclone lists it; sizes are those of the contents before encryption."""

    key: str
    size_bytes: int


@dataclass(frozen=True)
class Comparison:
    """The objects of both sides; complete if both could be listed.

    Attributes:
        at_source: key → bytes.
        only_at_source: their keys.
        differing: keys with different contents.
        only_at_target: keys.
    """

    at_source: Mapping[str, int] = field(default_factory=dict)
    only_at_source: frozenset[str] = frozenset()
    differing: frozenset[str] = frozenset()
    only_at_target: frozenset[str] = frozenset()


@dataclass
class CopyResult:
    """The outcome of one copy.

    Attributes:
        copied: key → bytes, new and replaced.
        failures: key → why it could not be copied.
        problems: errors that do not belong to one object, like a folder that cannot be listed.
        found: the objects when it began.
    """

    copied: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    found: Comparison = field(default_factory=Comparison)


def note(
    result: CopyResult, event: Mapping[str, Any], on_progress: Callable[[CopyProgress], None]
) -> None:
    """Add one line of the log to a result."""
    key, message = event.get("object"), str(event.get("msg", "")).strip()
    if "stats" in event:
        on_progress(_progress(event["stats"]))
    elif event.get("level") in {"error", "critical"}:
        _note_error(result, event, message)
    elif key and message.startswith(_LEFT_OUT):
        result.failures[plain_key(key)] = message
    elif key and message.startswith(_COPIED):
        result.copied[plain_key(key)] = int(event.get("size", 0))


def _note_error(result: CopyResult, event: Mapping[str, Any], message: str) -> None:
    name = event.get("object")
    is_of_object = bool(name) and not str(event.get("objectType")).endswith(_NOT_OBJECTS)
    if name and is_of_object:
        result.failures[plain_key(_PARTIAL.sub("", name))] = message
    elif not message.startswith(_SUMMARIES):
        result.problems.append(message)


def comparison(report: Iterable[str]) -> Comparison:
    """Read the report of a copy.

    Args:
        report: lines "+ key" of --combined, and "size;key" of --dest-after, in any order.

    Raises:
        TransientError: the report is cut off.
    """
    marked, sizes = defaultdict[str, set[str]](set), dict[str, int]()
    for line in report:
        if not line.endswith("\n"):
            raise TransientError(
                f"the report of rclone ends with {line[-_SHOWN:]!r}, within a key: make space "
                "in the folder for temporary files (TMPDIR) and try again"
            )
        if line[1:2] == " ":
            marked[line[0]].add(plain_key(line[2:].rstrip("\n")))
        else:
            size, _, key = line.rstrip("\n").partition(";")
            sizes[plain_key(key)] = int(size)
    only_at_source, differing = frozenset(marked["+"]), frozenset(marked["*"])
    at_source = marked["="] | only_at_source | differing
    return Comparison(
        at_source={key: sizes.get(key, 0) for key in at_source},
        only_at_source=only_at_source,
        differing=differing,
        only_at_target=frozenset(marked["-"]),
    )


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
    """Return a line of the log; a line that is not JSON is an error of the program itself."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"level": "error", "msg": line}


def messages(log: str) -> str:
    """Return the messages of a log."""
    return "\n".join(str(parsed(line).get("msg", "")).strip() for line in log.splitlines())


def failure(command: Sequence[str], code: int, words: str) -> InfluencerAIError:
    """Return the error of a failed run, with rclone's own text."""
    if '"--bwlimit" flag' in words:
        return PermanentError(
            "BACKUP_BANDWIDTH_LIMIT cannot be read by rclone: write 10M (MiB/s), or a timetable "
            'like "08:00,2M 19:00,off"'
        )
    text = f"rclone {command[0]} {command[1]} failed (exit code {code}): {words[-_SHOWN:]}"
    plain = words.lower().replace("_", "")
    if any(word in plain for word in _NO_SPACE):
        return InsufficientStorageError(f"{text}; free space there and try again")
    if code in {DIRECTORY_NOT_FOUND, _FATAL} or any(word in plain for word in _DENIED):
        return PermanentError(f"{text}; check the bucket or folder and its keys")
    return TransientError(f"{text}; try again, what was copied stays")
