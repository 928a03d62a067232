"""Runs the processes of one machine's stack: in order, until ready, again after a crash, and down.

A service starts when those that it needs are ready; each has its own process group and its log in
`<data_dir>/logs/<name>.log`. Nothing here knows what the services are: that is `stack.py`.

Why own code: supervisord and circus know no readiness, honcho no restart, and none of them finds
what a killed predecessor left behind.
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
from influencerai_dagster.local.processes import (
    STACK_ID,
    as_user,
    check_port,
    clean_leftovers,
    end,
    marked_processes,
    stop_groups,
    write_record,
)

POLL_SECONDS = 0.1
STEADY_SECONDS = 60.0  # who ran that long starts with the shortest backoff again
BACKOFF_SECONDS = (0.5, 2.0, 5.0, 15.0, 30.0)
LOG_TAIL_LINES = 8
MAX_LOG_BYTES = 20 * 1000**2


def _nothing() -> None: ...


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
        is_ready: asked again and again after the start, must not block for long.
        is_task: ends by itself, and is ready when it ended with exit code 0.
        prepare: runs before every start.
        port: loopback port that it takes; None if none.
        port_setting: the variable that changes the port.
        stop_signal: what asks it to end.
        stop_seconds: how long it may take for that before it is killed.
        stops_last: the others need it until they have ended.
        user: the user it runs as; None is ours.
        start_seconds: how long it may take to be ready.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    is_ready: Callable[[], bool] = _always
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
    ) -> None:
        self.stopping = threading.Event()
        self._services = services
        self._logs_dir = data_dir / "logs"
        self._record = data_dir / "stack-processes.json"
        self._announce = announce
        self._children: dict[str, _Child] = {}
        self._stack_id = secrets.token_hex(16)
        self.has_started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when all of it is ready, or `stopping` was set.

        Raises:
            PermanentError: a port is taken or a stack runs in this folder (nothing was started);
                or a process ended before it was ready (the others run until `stop`).
            TransientError: a process was not ready in time; as above.
        """
        self._logs_dir.mkdir(parents=True, exist_ok=True)
        clean_leftovers(self._record)
        for service in self._services:
            if service.port is not None:
                check_port(service.port, service=service.name, setting=service.port_setting)
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
            self.stopping.wait(POLL_SECONDS)

    def watch(self) -> None:
        """Start again what crashes, until `stopping` is set."""
        while not self.stopping.wait(POLL_SECONDS):
            for child in list(self._children.values()):
                if child.process.poll() is not None and not child.service.is_task:
                    self._revive(child)

    def stop(self) -> None:
        """End every process; what does not end in time is killed."""
        children = self._children.values()
        servers = [child for child in children if child.service.stops_last]
        _stop([child for child in children if not child.service.stops_last])
        if self.has_started:
            # Runs and trainings have process groups of their own, and want to write why they end.
            end(marked_processes(self._stack_id, but=[child.process.pid for child in servers]))
        _stop(servers)
        self._children.clear()
        if self.has_started:
            self._record.unlink(missing_ok=True)

    def _launch(self, service: Service) -> _Child:
        service.prepare()
        self.has_started = True
        with self._log_of(service).open("ab") as log:
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
            raise PermanentError(f"{service.name} ended with code {code}.\n{self._tail(service)}")
        if not service.is_task and service.is_ready():
            return True
        if time.monotonic() - child.started > service.start_seconds:
            limit = f"{service.start_seconds:g} s"
            raise TransientError(f"{service.name} was not ready in {limit}.\n{self._tail(service)}")
        return False

    def _revive(self, child: _Child) -> None:
        now = time.monotonic()
        if child.restart_at is None:
            steady = now - child.started > STEADY_SECONDS
            child.crashes = 1 if steady else child.crashes + 1
            delay = BACKOFF_SECONDS[min(child.crashes, len(BACKOFF_SECONDS)) - 1]
            child.restart_at = now + delay
            self._announce(
                f"{child.service.name} ended with code {child.process.returncode}; "
                f"starting it again in {delay:g} s (log: {self._log_of(child.service)})"
            )
        elif now >= child.restart_at:
            end(marked_processes(self._stack_id, group=child.process.pid))
            try:
                self._launch(child.service).crashes = child.crashes
            except (InfluencerAIError, OSError) as error:
                self._announce(f"{child.service.name} cannot be started: {error}")
                child.restart_at = now + BACKOFF_SECONDS[-1]

    def _log_of(self, service: Service) -> Path:
        path = self._logs_dir / f"{service.name}.log"
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.old"))
        return path

    def _tail(self, service: Service) -> str:
        path = self._logs_dir / f"{service.name}.log"
        lines = path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"The end of its log {path}:", *(f"  {line}" for line in lines)])


def _stop(children: Sequence[_Child]) -> None:
    stop_groups(
        [
            (child.process, child.service.stop_signal, child.service.stop_seconds)
            for child in children
        ]
    )
