r"""Run an sd-scripts program in its own process group, and end the whole group with it.

A signal to a launcher alone leaves its child training (docs/protocols/kohya.md, point 6), so the
group is ended on every way out: the end of the program, an exception of a callback, an interruption
by Dagster, and even when this process itself is killed. What the output means is in progress.py and
failures.py.
"""

import codecs
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from influencerai_dagster.errors import TransientError
from influencerai_dagster.program_environment import MACHINE_LEARNING, NETWORK, program_environment

TERMINATE_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.25
_CHUNK_BYTES = 65_536
_STDERR_KEPT_CHARS = 256_000
# Rich wraps log lines and splits paths at 80 columns. LINES is not set: with both, tqdm would draw
# bars of COLUMNS.
_ENVIRONMENT = {"COLUMNS": "1000", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
# Ends the group when the pipe to this process breaks, which it does however this process dies.
# `kill -s` is the one form that every sh takes for a group.
_GUARD = 'read -r _; kill -s TERM -- "-$1"; sleep 5; kill -s KILL -- "-$1"'


@dataclass(frozen=True)
class Finished:
    """The end of a program.

    Attributes:
        exit_code: negative for the signal that killed it.
        stderr: the last 256,000 characters.
    """

    exit_code: int
    stderr: str
    seconds: float


def run_program(
    command: list[str],
    *,
    cwd: Path,
    log_path: Path,
    extra_variables: Sequence[str] = (),
    on_stderr: Callable[[str], None] = lambda _: None,
    on_tick: Callable[[], None] = lambda: None,
    time_limit_seconds: float | None = None,
    terminate_grace_seconds: float = TERMINATE_GRACE_SECONDS,
) -> Finished:
    r"""Run a program until it ends; no process of its group outlives this call.

    Args:
        command: program and arguments; PYTHONPATH is set to `cwd`.
        cwd: the sd-scripts folder.
        log_path: gets both streams as they come, \r included.
        extra_variables: of our environment, besides those of program_environment.py.
        on_stderr: called with each chunk of stderr; what it raises ends the group.
        on_tick: called a few times a second; what it raises ends the group.
        time_limit_seconds: None for no limit.
        terminate_grace_seconds: between SIGTERM and SIGKILL, where the group is ended.

    Raises:
        TransientError: the time limit passed; the group was ended.
    """
    started = time.monotonic()
    stderr = ""
    group = _started(command, cwd, extra_variables, terminate_grace_seconds)
    with log_path.open("wb") as log, group as process:
        for name, chunk in _chunks(process):
            log.write(chunk.encode())
            log.flush()
            if name == "stderr":
                stderr = (stderr + chunk)[-_STDERR_KEPT_CHARS:]
                on_stderr(chunk)
            on_tick()
            if time_limit_seconds is not None and time.monotonic() - started > time_limit_seconds:
                text = (
                    f"{_name_of(command)} was stopped: it took longer than the time limit of"
                    f" {time_limit_seconds:.0f} s; its output is in {log_path}"
                )
                raise TransientError(text)
        exit_code = process.wait()
    return Finished(exit_code=exit_code, stderr=stderr, seconds=time.monotonic() - started)


@contextmanager
def _started(
    command: list[str], cwd: Path, extra_variables: Sequence[str], grace_seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    environment = program_environment(*NETWORK, *MACHINE_LEARNING, *extra_variables)
    guards: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:  # every step back is taken, also if one is interrupted
        stack.callback(_dismiss, guards)
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                command,
                env={**environment, **_ENVIRONMENT, "PYTHONPATH": str(cwd.resolve())},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        )
        stack.callback(_end_group, process, grace_seconds)
        guards.append(
            subprocess.Popen(  # noqa: S603 - constant script, the process id is a number
                ["/bin/sh", "-c", _GUARD, "sh", str(process.pid)],
                env=program_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        yield process


def _dismiss(guards: list[subprocess.Popen[bytes]]) -> None:
    """End the guards before their pipes close, which would set them off."""
    for guard in guards:
        guard.kill()
        guard.communicate()


def _end_group(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    try:
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            process.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # PermissionError is what macOS says of a group that has only zombies left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _chunks(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, str]]:
    """Yield (stream, text) as it comes, and ("", "") when nothing came for a moment.

    Ends when the program has ended, also if a child of it keeps the pipes open.
    """
    decoder = codecs.getincrementaldecoder("utf-8")
    with selectors.DefaultSelector() as selector:
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            selector.register(_pipe(stream), selectors.EVENT_READ, (name, decoder("replace")))
        while selector.get_map():
            has_ended = process.poll() is not None
            ready = selector.select(0 if has_ended else _POLL_SECONDS)
            for key, _ in ready:
                name, decode = key.data
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if not chunk:
                    selector.unregister(key.fileobj)
                yield name, decode.decode(chunk, final=not chunk)
            if not ready:
                if has_ended:
                    return
                yield "", ""
        while process.poll() is None:  # it closed its streams and goes on
            time.sleep(_POLL_SECONDS)
            yield "", ""


def _pipe(stream: object) -> BinaryIO:
    if not hasattr(stream, "fileno"):  # pragma: no cover - Popen was given PIPE
        raise TypeError("the program was started without pipes")
    return stream  # type: ignore[return-value]


def _name_of(command: list[str]) -> str:
    scripts = [Path(part).name for part in command if part.endswith(".py")]
    return scripts[0] if scripts else Path(command[0]).name
