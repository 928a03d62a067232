"""A run that does nothing, launched to success: by the fork server, and by Dagster's own launcher.

Both launchers use the same PostgreSQL in turn, each with a code server of its own. CPU time is that
of the run's processes, which their parents tell when these have ended. The last figure is the
number of such runs a minute through Dagster's queue, against one a second.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import yaml  # type: ignore[import-untyped] # its stubs are not in the lock file
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from benchmarks.comparisons import Comparison
from benchmarks.dagster_stack import dagster_stack
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.local.probes import serves_dagster
from influencerai_dagster.local.stack import run_stack
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

NUM_RUNS = 7
NUM_QUEUED = 60
_DEFINITIONS = "benchmarks.dagster_with_empty_job"
_EMPTY_JOB = "empty_job"
_REAPED_SECONDS = 1.0  # the code server looks twice a second which processes have ended


@dataclass
class _Costs:
    """Of each run by one launcher."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def run() -> Sequence[Comparison]:
    """Measure both launchers in turn, then the queue."""
    costs = {"preloaded": _Costs(), "default": _Costs()}
    per_minute: list[float] = []
    with tempfile.TemporaryDirectory(prefix="influencerai-benchmarks-") as folder:
        stack = dagster_stack(Path(folder), definitions_module=_DEFINITIONS)

        def measure() -> None:
            os.environ.update(stack.environment)
            home = Path(stack.environment["DAGSTER_HOME"])
            other_home, other_port = _without_fork_server(home), free_port()
            with (
                _launcher(home, stack.settings.local.code_server_port) as preloaded,
                _plain_code_server(other_port),
                _launcher(other_home, other_port) as default,
            ):
                with _frozen_daemon():
                    for _ in range(NUM_RUNS):
                        for name, launcher in (("preloaded", preloaded), ("default", default)):
                            cpu, wall = launcher.measure_run()
                            costs[name].cpu.append(cpu)
                            costs[name].wall.append(wall)
                per_minute.append(preloaded.measure_queue())

        run_stack(stack, measure, announce=print, stays_up=False)
    return [*_compare(costs), _throughput(per_minute)]


def _compare(costs: dict[str, _Costs]) -> Iterator[Comparison]:
    for what in ("cpu", "wall"):
        yield Comparison(
            name=f"an empty run, launched to success, {what} time",
            baseline_name="the same by Dagster's DefaultRunLauncher",
            unit="s",
            measured=getattr(costs["preloaded"], what)[1:],
            baseline=getattr(costs["default"], what)[1:],
            better="lower",
        )


def _throughput(per_minute: Sequence[float]) -> Comparison:
    return Comparison(
        name="empty runs through Dagster's queue",
        baseline_name="one a second",
        unit="runs/min",
        measured=per_minute,
        baseline=[60.0] * len(per_minute),
        better="higher",
    )


@dataclass(frozen=True)
class _Launcher:
    """An instance with its run launcher, on the running stack."""

    instance: dg.DagsterInstance
    workspace: Callable[[], WorkspaceRequestContext]
    parents: Sequence[psutil.Process]

    def measure_run(self) -> tuple[float, float]:
        """Launch a run outside the queue; return CPU and wall seconds to its success."""
        run_id = self._create_run()
        cpu_before = self._cpu_of_children()
        started = time.monotonic()
        self.instance.launch_run(run_id, self.workspace())
        self._wait_for_end(run_id, every_seconds=0.005)
        seconds = time.monotonic() - started
        wait_until(lambda: not self._processes_of_runs(), "the end of the process")
        time.sleep(_REAPED_SECONDS)
        return self._cpu_of_children() - cpu_before, seconds

    def measure_queue(self) -> float:
        """Queue runs and return how many a minute were executed."""
        run_ids = [self._create_run() for _ in range(NUM_QUEUED)]
        started = time.monotonic()
        for run_id in run_ids:
            self.instance.submit_run(run_id, self.workspace())
        for run_id in run_ids:
            self._wait_for_end(run_id, every_seconds=0.2)
        return 60 * NUM_QUEUED / (time.monotonic() - started)

    def _create_run(self) -> str:
        location = self.workspace().get_code_location(CODE_LOCATION)
        job: RemoteJob = location.get_repository("__repository__").get_full_job(_EMPTY_JOB)
        plan = location.get_execution_plan(
            job, run_config={}, step_keys_to_execute=None, known_state=None, instance=self.instance
        )
        return self.instance.create_run(
            job_name=_EMPTY_JOB,
            run_id=None,
            run_config={},
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=None,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            job_snapshot=job.job_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            asset_selection=None,
            asset_check_selection=None,
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_graph=location.get_repository("__repository__").asset_graph,
        ).run_id

    def _wait_for_end(self, run_id: str, *, every_seconds: float) -> None:
        while True:
            found = self.instance.get_run_by_id(run_id)
            assert found is not None
            if found.is_finished:
                assert found.is_success, [
                    (entry.user_message, entry.dagster_event)
                    for entry in self.instance.all_logs(run_id)
                ]
                return
            time.sleep(every_seconds)

    def _processes_of_runs(self) -> list[psutil.Process]:
        children = {child for parent in self.parents for child in parent.children()}
        return [child for child in children - set(self.parents) if not _tracks_resources(child)]

    def _cpu_of_children(self) -> float:
        times = [parent.cpu_times() for parent in self.parents]
        return sum(each.children_user + each.children_system for each in times)


def _tracks_resources(process: psutil.Process) -> bool:
    """Tell whether it is the helper of multiprocessing, which stays."""
    try:
        return any("resource_tracker" in argument for argument in process.cmdline())
    except psutil.NoSuchProcess:  # or a zombie, which is about to be reaped
        return False


@contextmanager
def _launcher(home: Path, port: int) -> Iterator[_Launcher]:
    workspace = home / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": port, "location_name": CODE_LOCATION}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        target = WorkspaceFileTarget([str(workspace)])
        with WorkspaceProcessContext(instance, target) as context:
            yield _Launcher(instance, context.create_request_context, _code_servers(port))


@contextmanager
def _frozen_daemon() -> Iterator[None]:
    """Let the daemon do nothing: it would take runs of the other launcher for lost ones."""
    [daemon] = [
        process for process in psutil.Process().children() if "dagster-daemon" in process.cmdline()
    ]
    daemon.suspend()
    try:
        yield
    finally:
        daemon.resume()


@contextmanager
def _plain_code_server(port: int) -> Iterator[None]:
    """Run a code server without a fork server."""
    command = [
        *(sys.executable, "-m", "influencerai_dagster.orchestration.dagster_process"),
        *("dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(port)),
        *("--location-name", CODE_LOCATION, "--module-name", _DEFINITIONS),
        "--use-python-environment-entry-point",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: serves_dagster(port), "the code server", timeout_seconds=120)
            yield
        finally:
            server.terminate()


def _code_servers(port: int) -> Sequence[psutil.Process]:
    """Return the processes whose children are runs: a code server, and its fork server."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if {"api", "grpc", str(port)} <= set(process.cmdline())
    ]


def _without_fork_server(home: Path) -> Path:
    """Return a second home of the instance, with Dagster's own launcher."""
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    del config["run_launcher"]
    other = home.with_name("default_home")
    other.mkdir()
    (other / "dagster.yaml").write_text(yaml.safe_dump(config))
    return other
