"""Find and end processes of our own; a process that is not proven to be ours gets no signal.

A program is proven to be ours by a mark in its environment, which names the process that started it
(`owned_environment`), or by its recorded id and start time (`same_process`).
"""

import os
import pwd
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from influencerai_dagster.program_environment import program_environment

STARTED_BY = "INFLUENCERAI_STARTED_BY"
"""In the environment of a program: id, start time and pid namespace of the process behind it."""
STOP_SECONDS = 5.0
KILL_SECONDS = 3.0
_POLL_SECONDS = 0.02
_CLOCK_SECONDS = 2.0  # a start time is counted from a boot time that moves with the clock


def owned_environment(*further: str) -> dict[str, str]:
    """Return the complete environment of a program, with the mark that it is ours.

    Args:
        further: names of variables that this program needs too, as in `program_environment`.
    """
    started = psutil.Process().create_time()
    mark = {STARTED_BY: f"{os.getpid()} {started} {pid_namespace()}"}
    return program_environment(*further) | mark


def leftover_programs(name: str) -> list[psutil.Process]:
    """Return the programs that a process of ours started and did not end before it was killed.

    Programs that this process itself started are among them: ask before it starts others.

    Args:
        name: a path or an address that an argument or a variable of the program contains.
    """
    found = []
    for process in psutil.process_iter(["name", "cmdline", "environ"]):
        variables = process.info["environ"] or {}
        texts = [*(process.info["cmdline"] or []), *variables.values()]
        if _is_left_over(variables.get(STARTED_BY, "")) and any(name in text for text in texts):
            found.append(process)
    return found


def _is_left_over(mark: str) -> bool:
    try:
        pid, started, namespace = mark.split()
        starter = same_process(int(pid), float(started))
        # In another container the same id belongs to another process.
        is_comparable = int(namespace) == pid_namespace()
    except ValueError:
        return False
    return is_comparable and (starter is None or starter.pid == os.getpid())


def pid_namespace() -> int:
    """Return the number of the pid namespace in which this process has its id."""
    return Path("/proc/self/ns/pid").stat().st_ino


def same_process(pid: int, started: float) -> psutil.Process | None:
    """Return the process that got an id at a time; None if it has ended.

    Args:
        pid: its id, which may have a new owner.
        started: its start time as psutil tells it, in seconds since 1970.
    """
    try:
        process = psutil.Process(pid)
        is_same = abs(process.create_time() - started) < _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if is_same and is_running(process) else None


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process still does anything: a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(
    processes: Sequence[psutil.Process],
    number: signal.Signals = signal.SIGTERM,
    *,
    stop_seconds: float = STOP_SECONDS,
) -> None:
    """Ask processes to end, and kill those that have not ended in time.

    Args:
        processes: proven to be ours.
        number: the signal that asks them.
        stop_seconds: how long they have to end by themselves.
    """
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    for process in _still_running(processes, wait_seconds=stop_seconds):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _still_running(processes, wait_seconds=KILL_SECONDS)


def _still_running(
    processes: Sequence[psutil.Process], *, wait_seconds: float
) -> Sequence[psutil.Process]:
    """Wait for processes to end; `psutil.wait_procs` would wait for zombies too."""
    deadline = time.monotonic() + wait_seconds
    while alive := [process for process in processes if is_running(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    return alive


def as_user(name: str | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that run a program as another user; None is ours."""
    if name is None:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
