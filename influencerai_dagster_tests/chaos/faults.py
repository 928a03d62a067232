"""Breaks workers and servers as a scenario says, and keeps a record of what was really broken.

Each fault runs in a thread of its own for as long as it lasts; two faults of one server wait for
each other, those of different servers overlap.
"""

import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from influencerai_dagster_tests.chaos.dispatcher import LEASE_SECONDS, Dispatcher, Worker
from influencerai_dagster_tests.chaos.scenario import Action, Event
from influencerai_dagster_tests.chaos.servers import ChaosServers
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.waiting import wait_until

_MANY = 1_000_000
_WORKER_SECONDS = 20.0
_BROKEN_PATHS = ("/prompt", "/queue", "/object_info", "/view", "/system_stats")
_SIGNALS = {
    Action.KILL_WORKER: signal.SIGKILL,
    Action.END_WORKER: signal.SIGTERM,
    Action.STOP_WORKER: signal.SIGSTOP,
}

_WAITING = {Action.LOSE_OUTPUT, Action.LOSE_ANSWER, Action.OUT_OF_MEMORY}


@dataclass(frozen=True)
class Injected:
    """A fault that happened.

    Attributes:
        started: time.time() when it began.
        ended: time.time() when it was healed; never, if it waits for something to hit.
        target: the name of the worker that it hit, or host and port of the ComfyUI.
        server: the number of that ComfyUI.
    """

    action: Action
    started: float
    ended: float
    target: str = ""
    server: int | None = None

    def overlaps(self, first: float, last: float) -> bool:
        """Tell whether some of it was between two times."""
        return self.started <= last and self.ended >= first


@dataclass
class Injector:
    """Runs the faults of a scenario.

    Attributes:
        injected: what was broken, in order of its end.
        skipped: faults that found nothing to break.
    """

    servers: ChaosServers
    dispatcher: Dispatcher
    injected: list[Injected] = field(default_factory=list)
    skipped: list[Event] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    _active: "list[Future[None]]" = field(default_factory=list)
    _locks: "defaultdict[str, threading.Lock]" = field(
        default_factory=lambda: defaultdict(threading.Lock)
    )
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(32, thread_name_prefix="fault")
    )

    def inject(self, event: Event) -> None:
        """Start a fault; returns at once."""
        self._active.append(self._pool.submit(self._run, event))

    def active(self) -> int:
        """Count the faults that are under way; raises what one of them raised."""
        for future in [item for item in self._active if item.done()]:
            self._active.remove(future)
            future.result()
        return len(self._active)

    def stop(self) -> None:
        """End all faults now; everything is healed."""
        self.is_over.set()
        self._pool.shutdown()

    def _run(self, event: Event) -> None:
        action = event.action
        if action in _SIGNALS:
            self._hit_worker(event)
        elif action in {Action.KILL_S3, Action.REFUSE_S3, Action.ANSWER_503}:
            with self._recorded(action, "s3"):
                self._break_s3(event)
        elif action in {Action.KILL_POSTGRES, Action.RESTART_POSTGRES}:
            with self._recorded(action, "postgres"):
                is_kill = action is Action.KILL_POSTGRES
                self.servers.postgres.end(signal.SIGKILL if is_kill else None)
                self._last(event)
                self.servers.postgres.start()
        else:
            number = event.target % len(self.servers.comfyui)
            server = self.servers.comfyui[number]
            with self._recorded(action, server.url.removeprefix("http://"), number):
                self._break_comfyui(event, server)

    def _hit_worker(self, event: Event) -> None:
        worker = self._victim(event)
        if worker is None:
            self.skipped.append(event)
            return
        with self._recorded(event.action, worker.owner):
            if event.action is not Action.STOP_WORKER:
                worker.send(_SIGNALS[event.action])
                return
            worker.stopped_at = time.monotonic()
            worker.send(signal.SIGSTOP)
            # Longer than the lease, so that another worker has its jobs when it wakes up.
            self.is_over.wait(2 * LEASE_SECONDS)
            worker.send(signal.SIGCONT)
            worker.stopped_at = None

    def _victim(self, event: Event) -> Worker | None:
        """Wait for a worker to hit; None if there is none left."""
        deadline = time.monotonic() + _WORKER_SECONDS
        while time.monotonic() < deadline:
            awake = self.dispatcher.awake()
            if awake:
                return awake[event.target % len(awake)]
            if self.is_over.wait(0.1):
                break
        return None

    def _break_s3(self, event: Event) -> None:
        if event.action is Action.KILL_S3:
            self.servers.s3.kill()
            self._last(event)
            self.servers.s3.start()
            return
        is_refusal = event.action is Action.REFUSE_S3
        (self.servers.s3_proxy.refuse if is_refusal else self.servers.s3_proxy.answer_503)()
        self._last(event)
        self.servers.s3_proxy.heal()

    def _break_comfyui(self, event: Event, server: ComfyUISimulator) -> None:
        lasting: dict[Action, tuple[dict[str, Any], dict[str, Any]]] = {
            Action.HANG_COMFYUI: ({"hang_worker": True}, {"hang_worker": False}),
            Action.REPLACE_HUNG_COMFYUI: ({"hang_worker": True}, {}),
            Action.SILENCE_SOCKETS: ({"silent": True}, {"silent": False}),
            Action.ANSWER_500: (
                {
                    "http_path": _BROKEN_PATHS[event.target % len(_BROKEN_PATHS)],
                    "http_status": 500,
                    "http_status_next": _MANY,
                },
                {"http_status_next": 0},
            ),
        }
        at_once: dict[Action, dict[str, Any]] = {
            Action.DROP_SOCKETS: {"drop_sockets": True},
            Action.LOSE_OUTPUT: {"lose_outputs_next": event.count},
            Action.LOSE_ANSWER: {"http_path": "/prompt", "drop_answers_next": event.count},
            Action.OUT_OF_MEMORY: {"fail_next": event.count},
        }
        if event.action in at_once:
            server.faults(**at_once[event.action])
            return
        if event.action in lasting:
            server.faults(**lasting[event.action][0])
            self._last(event)
            server.faults(**lasting[event.action][1])
        if event.action is Action.REFUSE_COMFYUI:
            server.faults(refuse_connections_seconds=event.seconds)
            self._last(event)
            wait_until(lambda: _answers(server), "ComfyUI listens again")
        if event.action in {Action.KILL_COMFYUI, Action.REPLACE_HUNG_COMFYUI}:
            server.kill()
            self._last(event if event.action is Action.KILL_COMFYUI else None)
            server.start()

    def _last(self, event: Event | None) -> None:
        if event is not None:
            self.is_over.wait(event.seconds)

    @contextmanager
    def _recorded(self, action: Action, target: str, server: int | None = None) -> Iterator[None]:
        with self._locks[target]:
            started = time.time()
            yield
            ended = math.inf if action in _WAITING else time.time()
            self.injected.append(Injected(action, started, ended, target, server))


def _answers(server: ComfyUISimulator) -> bool:
    try:
        server.stats()
    except httpx.TransportError:
        return False
    return True
