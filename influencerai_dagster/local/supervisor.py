"""Supervise the services of a local stack: start them in order, restart and stop them.

A service starts when the services it needs are ready. Each has its own process group and its log in
`<data_dir>/logs/<name>.log`. A service that ends, or does not answer for too long, is restarted.
The services themselves are in `services.py`.

Why own code: supervisord and circus have no readiness, honcho has no restart, and none of them ends
the processes of a killed predecessor.
"""

import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.files import explained
from influencerai_dagster.local.folder_lock import FolderLock
from influencerai_dagster.local.liveness import Liveness
from influencerai_dagster.local.logs import MAX_LOG_BYTES, Logs
from influencerai_dagster.local.processes import (
    RECORD_FILE,
    STACK_ID,
    Ending,
    check_port,
    clean_leftovers,
    kill,
    marked_processes,
    stop_groups,
    write_record,
)
from influencerai_dagster.processes import as_user, end

START_POLL_SECONDS = 0.1
WATCH_POLL_SECONDS = 0.5
STEADY_SECONDS = 60.0  # after that the backoff starts with the shortest delay again
BACKOFF_SECONDS = (0.5, 2.0, 5.0, 15.0, 30.0)
ALIVE_SECONDS = 120.0  # a service that does not answer for so long is ended
ASK_SECONDS = 10.0
_ROTATE_SECONDS = 10.0


def _nothing() -> None: ...


def show_nothing(_line: str) -> None:
    """Ignore which services start."""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Service:
    """One process.

    Attributes:
        name: also the name of its log.
        command: program and arguments.
        environment: the complete environment; the supervisor adds only its mark.
        needs: names of the services that must be ready before.
        is_ready: asked repeatedly after the start, must not block for long.
        is_alive: asked repeatedly while it runs, in a thread of its own: it may block. True also
            if it cannot be known. None does not ask.
        alive_seconds: how long it may give no answer before it is ended and restarted.
        leaves_children: its children outlive it until the stack stops: Dagster's runs, which work
            for hours.
        is_task: ends by itself, and is ready when it has ended with exit code 0.
        prepare: runs before every start.
        port: loopback port that it takes; None if none.
        port_setting: the variable that changes the port.
        stop_signal: asks it to end.
        stop_seconds: how long it may take to end before it is killed.
        stops_last: other services need it until they have ended.
        user: the user it runs as; None is ours.
        start_seconds: how long it may take to be ready.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    is_ready: Callable[[], bool] = _always
    is_alive: Callable[[], bool] | None = None
    alive_seconds: float = ALIVE_SECONDS
    leaves_children: bool = False
    is_task: bool = False
    prepare: Callable[[], None] = _nothing
    port: int | None = None
    port_setting: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    stops_last: bool = False
    user: str | None = None
    start_seconds: float = 60.0


@dataclass
class _Child:
    service: Service
    process: "subprocess.Popen[bytes]"
    started: float
    crashes: int = 0
    restart_at: float | None = None
    kill_at: float | None = None


class Supervisor:
    """The processes of one data directory; a context manager that stops them at its end.

    Attributes:
        stopping: set it, from any thread or signal handler, to end `start` and `watch`.
        has_started: whether any process was started.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        data_dir: Path,
        announce: Callable[[str], None],
        ask_seconds: float = ASK_SECONDS,
        max_log_bytes: int = MAX_LOG_BYTES,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
    ) -> None:
        """Make it; nothing is written or started.

        Args:
            services: what to run.
            data_dir: belongs to this supervisor alone while it runs.
            announce: gets a line about every crash and restart.
            ask_seconds: between two questions to a service whether it is alive.
            max_log_bytes: size of a log before it is rotated.
            backoff_seconds: delays before the first, second, … restart of a crashing service.
        """
        self.stopping = threading.Event()
        self._services = services
        self._lock = FolderLock(data_dir)
        self._logs = Logs(data_dir / "logs", announce, max_bytes=max_log_bytes)
        self._record = data_dir / RECORD_FILE
        self._liveness = Liveness(self.stopping, every_seconds=ask_seconds)
        self._backoff_seconds = backoff_seconds
        self._children: dict[str, _Child] = {}
        self._stack_id = secrets.token_hex(16)
        self.has_started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, show: Callable[[str], None] = show_nothing) -> None:
        """Start everything and return when all of it is ready, or `stopping` was set.

        Args:
            show: gets the services that are being started, repeatedly.

        Raises:
            PermanentError: a port is taken or a stack runs in this folder (nothing was started);
                or a process ended before it was ready (the others run until `stop`).
            TransientError: a process was not ready in time; as above.
            OSError: a file or folder cannot be made.
        """
        self._lock.take()
        self._logs.prepare()
        clean_leftovers(self._record)
        for service in self._services:
            _check_port(service)
        waiting = {service.name: service for service in self._services}
        starting: dict[str, _Child] = {}
        ready: set[str] = set()
        while (waiting or starting) and not self.stopping.is_set():
            for name, service in list(waiting.items()):
                if ready.issuperset(service.needs):
                    starting[name] = self._launch(waiting.pop(name))
            for name, child in list(starting.items()):
                if self._is_ready(child):
                    ready.add(name)
                    del starting[name]
            number = f"{len(ready)} of {len(self._services)} ready"
            show(f"{number}, starting {', '.join(starting)}" if starting else number)
            self.stopping.wait(START_POLL_SECONDS)

    def watch(self) -> None:
        """Restart services that crash or stop answering, until `stopping` is set."""
        for child in self._children.values():
            service = child.service
            if service.is_alive is not None:
                self._liveness.watch(service.name, service.is_alive, service.alive_seconds)
        rotate_at = time.monotonic()
        while not self.stopping.wait(WATCH_POLL_SECONDS):
            for name, seconds in self._liveness.stalled():
                self._end_stalled(self._children[name], seconds)
            for child in list(self._children.values()):
                if child.process.poll() is None:
                    self._kill_if_late(child)
                elif not child.service.is_task:
                    self._revive(child)
            if time.monotonic() >= rotate_at:
                self._logs.rotate()
                rotate_at = time.monotonic() + _ROTATE_SECONDS

    def stop(self) -> None:
        """End every process; kill those that do not end in time."""
        children = self._children.values()
        servers = [child for child in children if child.service.stops_last]
        _stop([child for child in children if not child.service.stops_last])
        if self.has_started:
            # Runs and trainings have process groups of their own, and record why they end.
            end(marked_processes(self._stack_id, but=[child.process.pid for child in servers]))
        _stop(servers)
        self._children.clear()
        if self.has_started:
            self._record.unlink(missing_ok=True)
        self._lock.release()

    def _launch(self, service: Service) -> _Child:
        service.prepare()
        self.has_started = True
        with self._logs.path(service.name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the commands are our own
                service.command,
                env={**service.environment, STACK_ID: self._stack_id},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(service.user),
            )
        child = _Child(service, process, time.monotonic())
        self._children[service.name] = child
        pids = [child.process.pid for child in self._children.values()]
        write_record(self._record, self._stack_id, pids)
        return child

    def _is_ready(self, child: _Child) -> bool:
        service, code = child.service, child.process.poll()
        if code is not None:
            if service.is_task and code == 0:
                return True
            _check_port(service)  # taken since the first check: the likely cause
            tail = self._logs.tail(service.name)
            raise PermanentError(f"{service.name} ended with code {code}.\n{tail}")
        if not service.is_task and service.is_ready():
            return True
        if time.monotonic() - child.started > service.start_seconds:
            limit = f"{service.start_seconds:g} s"
            tail = self._logs.tail(service.name)
            raise TransientError(f"{service.name} was not ready in {limit}.\n{tail}")
        return False

    def _end_stalled(self, child: _Child, seconds: float) -> None:
        """Begin to end a process that does not answer; `_kill_if_late` sees to its end."""
        if child.kill_at is not None or child.process.poll() is not None:
            return
        self._logs.note(
            f"{child.service.name} has not answered for {seconds:.0f} s and is ended "
            f"(log: {self._logs.path(child.service.name)})"
        )
        child.process.send_signal(child.service.stop_signal)
        child.kill_at = time.monotonic() + child.service.stop_seconds

    def _kill_if_late(self, child: _Child) -> None:
        if child.kill_at is not None and time.monotonic() >= child.kill_at:
            kill(child.process, is_group=not child.service.leaves_children)

    def _revive(self, child: _Child) -> None:
        now = time.monotonic()
        if child.restart_at is None:
            steady = now - child.started > STEADY_SECONDS
            child.crashes = 1 if steady else child.crashes + 1
            delays = self._backoff_seconds
            delay = delays[min(child.crashes, len(delays)) - 1]
            child.restart_at = now + delay
            self._logs.note(
                f"{child.service.name} ended with code {child.process.returncode}; "
                f"starting it again in {delay:g} s (log: {self._logs.path(child.service.name)})"
            )
        elif now >= child.restart_at:
            if not child.service.leaves_children:
                end(marked_processes(self._stack_id, group=child.process.pid))
            try:
                self._launch(child.service).crashes = child.crashes
                self._liveness.started_again(child.service.name, child.service.start_seconds)
            except (InfluencerAIError, OSError) as error:
                why = explained(error) if isinstance(error, OSError) else error
                self._logs.note(f"{child.service.name} cannot be started: {why}")
                child.restart_at = now + self._backoff_seconds[-1]


def _check_port(service: Service) -> None:
    if service.port is not None:
        check_port(service.port, service=service.name, setting=service.port_setting)


def _stop(children: Sequence[_Child]) -> None:
    stop_groups(
        [
            Ending(
                child.process,
                child.service.stop_signal,
                child.service.stop_seconds,
                is_group=not child.service.leaves_children,
            )
            for child in children
        ]
    )
