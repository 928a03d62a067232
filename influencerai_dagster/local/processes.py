"""Find, record and end the processes of a local stack, and check its ports.

A process belongs to a stack if its environment has the mark of the stack, or if its id and start
time were recorded when it was started.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import ValidationError

from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.files import write_whole
from influencerai_dagster.processes import KILL_SECONDS, end, same_process

LOOPBACK = "127.0.0.1"
STACK_ID = "INFLUENCERAI_STACK_ID"  # in the environment of every process that belongs to a stack
RECORD_FILE = "stack-processes.json"
"""In a stack's folder: which processes it started."""


class _Record(Value):
    stack_id: str
    supervisor_pid: int
    started: dict[int, float]


def check_port(port: int, *, service: str, setting: str) -> None:
    """Check that a service can take its port.

    Raises:
        PermanentError: another program has it; the text names port and setting.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # allow TIME_WAIT
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PermanentError(
                f"Port {port} of {service} cannot be used ({error.strerror}): stop the program "
                f"that has it, or set {setting} to another port"
            ) from None


def marked_processes(
    stack_id: str, *, group: int | None = None, but: Sequence[int] = ()
) -> list[psutil.Process]:
    """Return the processes that carry a stack's mark.

    Args:
        stack_id: the mark.
        group: only those of this process group.
        but: without these process ids and their children.
    """
    kept = set(but)
    for pid in but:
        with suppress(psutil.NoSuchProcess):
            kept |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    found = []
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get(STACK_ID) != stack_id or process.pid in kept:
            continue
        with suppress(ProcessLookupError):
            if group is None or os.getpgid(process.pid) == group:
                found.append(process)
    return found


class Ending(NamedTuple):
    """A child that leads a process group, and how it is ended.

    Attributes:
        number: the signal that asks it to end.
        seconds: how long it has for that.
        is_group: whether its group is killed with it.
    """

    process: "subprocess.Popen[bytes]"
    number: signal.Signals
    seconds: float
    is_group: bool


def stop_groups(children: Sequence[Ending]) -> None:
    """End children, all at once.

    A child keeps its id until we have waited for it: the signal cannot reach another process.
    """
    running = [child for child in children if child.process.poll() is None]
    for process, number, _, _ in running:
        process.send_signal(number)
    started = time.monotonic()
    for process, _, seconds, is_group in running:
        try:
            process.wait(max(0.0, started + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            kill(process, is_group=is_group)
            with suppress(subprocess.TimeoutExpired):  # blocked in the kernel by a dead disk
                process.wait(KILL_SECONDS)


def kill(process: "subprocess.Popen[bytes]", *, is_group: bool) -> None:
    """Kill a child that has not been waited for, or the whole process group that it leads."""
    if is_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def write_record(path: Path, stack_id: str, pids: Sequence[int]) -> None:
    """Record the processes of a stack, for the next start if this one is killed."""
    started: dict[int, float] = {}
    for pid in (os.getpid(), *pids):
        with suppress(psutil.NoSuchProcess):
            started[pid] = psutil.Process(pid).create_time()
    record = _Record(stack_id=stack_id, supervisor_pid=os.getpid(), started=started)
    write_whole(path, record.model_dump_json().encode())


def supervisor_process(path: Path) -> psutil.Process | None:
    """Return the supervisor that wrote a record, or None if it does not run."""
    try:
        record = _Record.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return same_process(record.supervisor_pid, record.started.get(record.supervisor_pid, 0.0))


def clean_leftovers(path: Path) -> int:
    """End the processes of a killed supervisor.

    Args:
        path: the record that it wrote with `write_record`.

    Returns:
        How many processes were ended.

    Raises:
        PermanentError: that supervisor is alive: a stack runs in this folder.
    """
    try:
        record = _Record.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):  # cut off by a power failure
        return 0
    ours = [
        process
        for pid, created in record.started.items()
        if (process := same_process(pid, created)) is not None
    ]
    if any(process.pid == record.supervisor_pid for process in ours):
        raise PermanentError(
            f"A stack runs in {path.parent.resolve()} already (process "
            f"{record.supervisor_pid}): stop it with Ctrl-C in its terminal, or set DATA_DIR"
        )
    leftovers = {process.pid: process for process in ours}
    leftovers |= {process.pid: process for process in marked_processes(record.stack_id)}
    end(list(leftovers.values()))
    path.unlink()
    return len(leftovers)
