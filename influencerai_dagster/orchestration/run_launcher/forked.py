"""Fork processes and give each what a process of its own has: session, signals, end."""

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

Work = Callable[[], None]

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_MAX_NAME_CHARS = 15


def fork(work: Work) -> int:
    """Fork a process that does a work and then ends.

    Returns:
        Its process id; the forked process does not return.

    Raises:
        OSError: the limit of processes is reached, or memory is short.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that comes between waits: the handlers of this process are not for the new one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid:
            return pid
        _reset_signals()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ended:
        code = _exit_code(ended)
    except BaseException:  # noqa: BLE001 - there is no caller: the log gets it
        traceback.print_exc()
    return _end(code)


def leave_session(name: str) -> None:
    """Make this forked process independent of the one that forked it.

    Args:
        name: of the process, as `ps -o comm` and `top` show it.
    """
    os.setsid()
    Path("/proc/self/comm").write_text(name[:_MAX_NAME_CHARS])
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def end_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when the one that forked it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before that call
        os.kill(os.getpid(), signal.SIGKILL)


def _reset_signals() -> None:
    """Give signals the effects that they have in a new Python process."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        is_interrupt = number is signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    sys.stderr.write(f"{ended.code}\n")
    return 1


def _end(code: int) -> NoReturn:
    """End as multiprocessing ends its forked processes.

    Freeing every object, as Python does at its end, would copy all shared pages: 0.1 s of CPU.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing does
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
