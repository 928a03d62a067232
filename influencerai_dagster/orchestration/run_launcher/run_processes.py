"""Watch the processes of runs: their ends, and those that do not end or were stopped."""

import logging
import os
import selectors
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import psutil

from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.files import explained
from influencerai_dagster.orchestration.run_launcher.forked import Work
from influencerai_dagster.orchestration.run_launcher.protocol import Reply
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder

KILL_SECONDS = 60.0
"""How long a process may take to end; Dagster's cancel_timeout_seconds is less."""
STOPPED_SECONDS = 15.0
"""How long the process of a run may be stopped (SIGSTOP): it holds a pool slot, and its jobs."""
_LOOK_SECONDS = 5.0
_log = logging.getLogger(__name__)

Ends = Mapping[str, int | None]
"""Run id → exit code of the process, as in `RunRecord`."""
ReportEnds = Callable[[Ends], None]
"""Is called in a process of its own."""


class RunProcesses:
    """The processes of the runs in a folder: forked by this server, or by an earlier one."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        fork: Callable[[Work], int],
        report_ends: ReportEnds,
        kill_seconds: float = KILL_SECONDS,
        stopped_seconds: float = STOPPED_SECONDS,
    ) -> None:
        """Make it; nothing is read yet.

        Args:
            folder: has the records of the runs.
            fork: forks a process that does a work.
            report_ends: reports runs whose processes failed.
            kill_seconds: how long a run may take to end.
            stopped_seconds: how long the process of a run may be stopped.
        """
        self._folder = folder
        self._fork = fork
        self._report_ends = report_ends
        self._kill_seconds = kill_seconds
        self._stopped_seconds = stopped_seconds
        self._children: dict[int, str] = {}  # process id → run id
        self._adopted: dict[str, int] = {}  # run id → descriptor of its process
        self._kill_at: dict[str, float] = {}
        self._stopped_since: dict[str, float] = {}
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._children) + len(self._adopted)

    def add(self, pid: int, run_id: str) -> None:
        """Watch a process that was just forked."""
        self._children[pid] = run_id

    def adopt(self, selector: selectors.BaseSelector) -> None:
        """Watch the processes of an earlier server, and report those that ended meanwhile.

        Args:
            selector: gets a function to call when one of them ends.
        """
        lost: list[str] = []
        for record in self._folder.records():
            process = record.process.find() if record.is_alive else None
            if process is None:
                lost += [] if record.is_end_recorded else [record.run_id]
                continue
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process.pid)
                self._adopted[record.run_id] = descriptor
                ended = partial(self._on_adopted_end, selector, record.run_id)
                selector.register(descriptor, selectors.EVENT_READ, ended)
        self._on_ends(dict.fromkeys(lost))

    def close(self) -> None:
        """Close what a forked process must not keep."""
        for descriptor in self._adopted.values():
            os.close(descriptor)

    def on_child_end(self, pid: int, exit_code: int) -> None:
        """Handle the end of a child; it need not be the process of a run."""
        run_id = self._children.pop(pid, None)
        record = None if run_id is None else self._folder.read(run_id)
        # A process that was refused to begin the run has no record.
        if record is not None and record.process.pid == pid:
            self._on_ends({record.run_id: exit_code})

    def terminate(self, run_id: str) -> Reply:
        """Ask the process of a run to end."""
        try:
            process = self._find(run_id)
        except InfluencerAIError as error:
            return Reply(refusal=str(error))
        if process is None:
            return Reply(refusal=f"run {run_id} has no process")
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        self._kill_at.setdefault(run_id, time.monotonic() + self._kill_seconds)
        return Reply(pid=process.pid)

    def terminate_all(self) -> None:
        """Ask all processes to end."""
        for run_id in self._run_ids():
            self.terminate(run_id)

    def wait_seconds(self) -> float | None:
        """Return when to look at the processes again; None without any."""
        if self._kill_at:
            return 1.0
        return min(_LOOK_SECONDS, self._stopped_seconds) if len(self) else None

    def look(self, now: float) -> None:
        """Kill those that do not end, and those that have been stopped for too long."""
        for run_id in [run_id for run_id, at in self._kill_at.items() if now > at]:
            del self._kill_at[run_id]
            self._kill(run_id, "did not end in time")
        if now < self._look_at:
            return
        self._look_at = now + min(_LOOK_SECONDS, self._stopped_seconds)
        stopped = [run_id for run_id in self._run_ids() if _is_stopped(self._find(run_id))]
        self._stopped_since = {run_id: self._stopped_since.get(run_id, now) for run_id in stopped}
        for run_id, since in self._stopped_since.items():
            if now - since >= self._stopped_seconds:
                self._kill(run_id, f"was stopped (SIGSTOP) for {now - since:.0f} s")

    def _run_ids(self) -> list[str]:
        return [*self._children.values(), *self._adopted]

    def _find(self, run_id: str) -> psutil.Process | None:
        """Return the process of a run, or None if it has ended."""
        record = self._folder.read(run_id)
        return record.process.find() if record and record.is_alive else None

    def _kill(self, run_id: str, why: str) -> None:
        process = self._find(run_id)
        if process is not None:
            _log.error("run %s %s and is killed", run_id, why)
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _on_adopted_end(self, selector: selectors.BaseSelector, run_id: str) -> None:
        descriptor = self._adopted.pop(run_id)
        selector.unregister(descriptor)
        os.close(descriptor)
        self._on_ends({run_id: None})

    def _on_ends(self, ends: Ends) -> None:
        """Record how processes ended; report those that may not have done so themselves."""
        for run_id, exit_code in ends.items():
            self._kill_at.pop(run_id, None)
            try:
                self._folder.end(run_id, exit_code)
            except OSError as error:
                _log.error("the end of run %s cannot be recorded: %s", run_id, explained(error))
        failed = {run_id: exit_code for run_id, exit_code in ends.items() if exit_code != 0}
        if failed:
            try:
                self._fork(partial(self._report_ends, failed))
            except (OSError, PermanentError) as error:
                _log.error("the end of runs %s cannot be reported: %s", list(failed), error)


def _is_stopped(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
