"""Fork a process for every run: the fork server, which also starts the code server.

It has one thread and no connection to any database, so that a forked process begins in a state that
is known. The code server is forked from it too: both always have the same definitions, and end
together. Runs outlive them; the next fork server finds them by their records.
"""

import fcntl
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from pydantic import ValidationError

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.files import explained
from influencerai_dagster.orchestration.run_launcher.connections import Connection
from influencerai_dagster.orchestration.run_launcher.forked import Work, end_with_parent, fork
from influencerai_dagster.orchestration.run_launcher.preloaded import (
    SourceFile,
    changed_file,
    check_single_threaded,
)
from influencerai_dagster.orchestration.run_launcher.protocol import Reply, Request, listen
from influencerai_dagster.orchestration.run_launcher.run_process import RunProgram, execute_run
from influencerai_dagster.orchestration.run_launcher.run_processes import (
    KILL_SECONDS,
    STOPPED_SECONDS,
    ReportEnds,
    RunProcesses,
)
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder

_END_SECONDS = 20.0
_log = logging.getLogger(__name__)


class ForkServer:
    """The fork server of one folder."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        code_server_id: str,
        run_code_server: Work,
        run_program: RunProgram,
        report_ends: ReportEnds,
        files: frozenset[SourceFile] = frozenset(),
        kill_seconds: float = KILL_SECONDS,
        stopped_seconds: float = STOPPED_SECONDS,
    ) -> None:
        """Make it; nothing is started.

        Args:
            folder: has its socket and its records.
            code_server_id: by which launchers know the code server.
            run_code_server: serves the definitions, in a process of its own.
            run_program: executes a run, in the process of the run.
            report_ends: reports runs whose processes failed.
            files: from which the definitions were loaded.
            kill_seconds: how long a run may take to end.
            stopped_seconds: how long the process of a run may be stopped.
        """
        self._folder = folder
        self._code_server_id = code_server_id
        self._run_code_server = run_code_server
        self._run_program = run_program
        self._files = files
        self._runs = RunProcesses(
            folder,
            fork=self._fork,
            report_ends=report_ends,
            kill_seconds=kill_seconds,
            stopped_seconds=stopped_seconds,
        )
        self._selector = selectors.DefaultSelector()
        self._clients: set[Connection] = set()
        self._open: list[Callable[[], None]] = [self._runs.close]
        self._code_server_pid = 0
        self._exit_code: int | None = None
        self._stop_at: float | None = None

    def serve(self) -> int:
        """Serve until the code server ends; return its exit code.

        Raises:
            PermanentError: another fork server serves the folder, or this process has threads.
            OSError: the folder cannot be used.
        """
        check_single_threaded()
        with self._opened():
            self._runs.adopt(self._selector)
            self._code_server_pid = self._start_code_server()
            while not self._is_over():
                events = self._selector.select(self._wait_seconds())
                for handle in [*(key.data for key, _ in events), self._meet_deadlines]:
                    _guarded(handle)
        return self._exit_code or 0

    # Sockets, signals.

    @contextmanager
    def _opened(self) -> Iterator[None]:
        self._folder.make()
        self._folder.prune()
        lock = os.open(self._folder.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        self._open.append(partial(os.close, lock))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermanentError(
                f"another fork server runs in {self._folder.path}: end it, or give this one a "
                "DAGSTER_HOME of its own"
            ) from None
        listener = listen(self._folder.path)
        woken, wake = socket.socketpair()
        woken.settimeout(0)
        wake.settimeout(0)
        self._open += [listener.close, woken.close, wake.close, self._selector.close]
        self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        self._selector.register(woken, selectors.EVENT_READ, partial(self._on_signals, woken))
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            self._close_all()

    def _close_all(self, *, but: Connection | None = None) -> None:
        for close in self._open:
            close()
        for client in self._clients - {but}:
            client.socket.close()

    def _fork(self, work: Work, *, client: Connection | None = None) -> int:
        """Fork a process that has nothing of this server but a client's connection."""

        def forked() -> None:
            self._close_all(but=client)
            work()

        check_single_threaded()
        return fork(forked)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            accepted, _ = listener.accept()
            accepted.settimeout(0)
            client = Connection(accepted)
            self._clients.add(client)
            self._selector.register(accepted, selectors.EVENT_READ, partial(self._read, client))

    def _read(self, client: Connection) -> None:
        line = client.read_line()
        if line is None:
            return
        try:
            request = Request.model_validate_json(line)
        except ValidationError:
            self._forget(client)
            return
        reply = self._handle(request, client)
        if reply is not None:
            self._selector.unregister(client.socket)
            self._clients.discard(client)
            client.answer(reply)

    def _forget(self, client: Connection) -> None:
        self._selector.unregister(client.socket)
        self._clients.discard(client)
        client.socket.close()

    # Requests.

    def _handle(self, request: Request, client: Connection) -> Reply | None:
        """Do what a client asks; None if the process of its run answers it."""
        if request.action == "terminate":
            return self._runs.terminate(request.run_id)
        if request.action == "describe":
            return Reply(
                pid=os.getpid(),
                code_server_id=self._code_server_id,
                num_runs=len(self._runs),
            )
        refusal = self._why_not(request)
        if refusal is not None:
            return Reply(refusal=refusal, may_retry=True)
        try:
            execute = partial(execute_run, self._folder, request, client, self._run_program)
            pid = self._fork(execute, client=client)
        except (OSError, PermanentError) as error:
            why = explained(error) if isinstance(error, OSError) else str(error)
            return Reply(refusal=f"no process can be forked: {why}", may_retry=True)
        self._runs.add(pid, request.run_id)
        self._forget(client)
        return None

    def _why_not(self, request: Request) -> str | None:
        """Return why a run is not started, or None."""
        if self._stop_at is not None:
            return "the fork server is ending"
        if request.code_server_id != self._code_server_id:
            return (
                "its launcher knows the definitions of another code server: Dagster's daemon has "
                "not noticed yet that the code server was started again. Reload the code location "
                "if that does not change"
            )
        changed = changed_file(self._files)
        if changed is not None:
            return (
                f"{changed} was changed after it was loaded, so a run might mix two versions: end "
                "the process of the code server, and it is started with the new code"
            )
        return None

    # Processes.

    def _start_code_server(self) -> int:
        server_pid = os.getpid()

        def serve_code() -> None:
            end_with_parent(server_pid)
            self._run_code_server()

        return self._fork(serve_code)

    def _on_signals(self, woken: socket.socket) -> None:
        with suppress(BlockingIOError):
            woken.recv(4096)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._on_child_end(pid, os.waitstatus_to_exitcode(status))

    def _on_child_end(self, pid: int, exit_code: int) -> None:
        if pid == self._code_server_pid:
            _log.log(
                logging.INFO if self._stop_at else logging.ERROR,
                "the code server ended with code %d, and so does the fork server",
                exit_code,
            )
            self._exit_code = exit_code if exit_code >= 0 else 1
        self._runs.on_child_end(pid, exit_code)

    # Deadlines.

    def _wait_seconds(self) -> float | None:
        return 1.0 if self._clients or self._stop_at else self._runs.wait_seconds()

    def _meet_deadlines(self) -> None:
        now = time.monotonic()
        self._runs.look(now)
        for client in [client for client in self._clients if now > client.deadline]:
            self._forget(client)
        if self._stop_at is not None and now > self._stop_at and self._exit_code is None:
            os.kill(self._code_server_pid, signal.SIGKILL)

    def _stop(self) -> None:
        """End the code server; process 1 of a container ends its runs too."""
        if self._stop_at is not None:
            return
        self._stop_at = time.monotonic() + _END_SECONDS
        if self._code_server_pid:
            os.kill(self._code_server_pid, signal.SIGTERM)
        if os.getpid() == 1:
            self._runs.terminate_all()

    def _is_over(self) -> bool:
        if self._exit_code is None:
            return False
        has_to_wait = os.getpid() == 1 and self._stop_at and time.monotonic() < self._stop_at
        return not (has_to_wait and len(self._runs))


def _guarded(handle: Callable[[], object]) -> None:
    """Handle an event; a failure concerns one run or client, and the others go on."""
    try:
        handle()
    except Exception:  # noqa: BLE001 - whatever it is
        _log.exception("the fork server goes on after an error")
