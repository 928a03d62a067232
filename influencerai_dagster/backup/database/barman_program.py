"""Run the program `barman`: its JSON answers as values, its errors as ours, no orphaned child.

The commands are in barman.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from influencerai_dagster.errors import (
    BackupRefusedError,
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
    WalSummariesMissingError,
)
from influencerai_dagster.processes import end, leftover_programs

BACKUP_STOP_SECONDS = 20.0
"""In this time Barman ends the backup on the server, and marks it as failed."""
_STOP_SECONDS = 5.0
_NO_SPACE = "No space left on device"
_ERRORS: Mapping[str, type[InfluencerAIError]] = {
    "Unknown backup": PermanentError,
    "Unknown server": PermanentError,
    "Impossible to start the backup": BackupRefusedError,
    "WAL summar": WalSummariesMissingError,
}
"""Classes of errors by Barman's own text; any other is a TransientError."""
_SHOWN_CHARS = 2000


def script() -> str:
    """Return the path of the program.

    Raises:
        PermanentError: it is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "barman"
    found = str(beside) if beside.exists() else shutil.which("barman")
    if found is None:
        raise PermanentError("barman is not installed: install the extra 'backup'")
    return found


def run_barman(
    config: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    ok_codes: tuple[int, ...] = (0,),
    stop_seconds: float = _STOP_SECONDS,
) -> dict[str, Any]:
    """Run a command of Barman to its end and return its answer.

    Args:
        config: its configuration file.
        arguments: command, options, server.
        environment: the complete one.
        ok_codes: exit codes of a valid answer.
        stop_seconds: time to end after an interruption, before it is killed.

    Raises:
        InsufficientStorageError: the disk is full.
        PermanentError: it does not know the backup, or a program is missing.
        BackupRefusedError: it may not begin the backup yet.
        WalSummariesMissingError: an incremental backup is impossible now.
        TransientError: it failed for another reason; the text is Barman's own.
    """
    command = [script(), "-c", str(config), "-f", "json", *arguments]
    with subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Barman's own children are ended with it
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            _end_group(process, stop_seconds)
            raise
    answer = _parsed(out)
    if process.returncode not in ok_codes or (process.returncode != 0 and "_ERROR" in answer):
        raise _failure(arguments, answer, err or out, process.returncode)
    return answer


def end_orphans(folder: Path, config: Path) -> None:
    """End the programs that a killed Barman left running for one backup.

    Args:
        folder: of the backup.
        config: Barman's configuration, by which its running backups are known.

    Raises:
        TransientError: a backup is running.
    """
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(config) in words and "backup" in words:
            raise TransientError(
                f"Another backup is running (process {process.pid}): wait for its end, then try "
                "again"
            )
    end_programs_at(folder)


def end_programs_at(folder: Path) -> None:
    """End the programs that a killed Barman of ours left writing into a folder."""
    end(leftover_programs(str(folder)))


def _end_group(process: "subprocess.Popen[str]", stop_seconds: float) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)  # Barman cleans up as for Ctrl-C
    with suppress(subprocess.TimeoutExpired):
        process.wait(stop_seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _parsed(out: str) -> dict[str, Any]:
    try:
        answer = json.loads(out)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _failure(
    arguments: Sequence[str], answer: dict[str, Any], output: str, code: int
) -> InfluencerAIError:
    said = "; ".join(
        str(line) for name in ("_EXCEPTION", "_ERROR") for line in _lines(answer, name)
    )
    said = (said or output.strip() or f"it ended with {code} and said nothing")[-_SHOWN_CHARS:]
    text = f"barman {arguments[0]} failed: {said}"
    if _NO_SPACE in said:
        return InsufficientStorageError(f"{text}. Make space where BACKUP_HOME is")
    found = (error for words, error in _ERRORS.items() if words in said)
    return next(found, TransientError)(text)


def _lines(answer: dict[str, Any], name: str) -> list[Any]:
    found = answer.get(name, [])
    return found if isinstance(found, list) else [found]
