"""Launch runs by the fork server: the class that dagster.yaml names as `run_launcher`.

It is used by the daemon, which launches and watches runs, and by the web server, which ends them.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.files import explained
from influencerai_dagster.orchestration.run_launcher.protocol import Reply, Request, ask
from influencerai_dagster.orchestration.run_launcher.run_ends import explain_end
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder

LAUNCH_SECONDS = 20.0
_TERMINATE_SECONDS = 5.0


class PreloadedRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Launches each run in a process that is forked from one with the code location loaded."""

    def __init__(
        self,
        inst_data: ConfigurableClassData | None = None,
        *,
        launch_seconds: float = LAUNCH_SECONDS,
    ) -> None:
        """Make it; nothing is asked yet.

        Args:
            inst_data: Dagster's.
            launch_seconds: how long a launch waits for the fork server.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._launch_seconds = launch_seconds

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """How dagster.yaml names this class."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the config of dagster.yaml: there is none."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Make it from dagster.yaml."""
        return cls(inst_data, **config_value)

    @property
    def _folder(self) -> RunFolder:
        return RunFolder.below(Path(self._instance.root_directory))

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run.

        Raises:
            DagsterUserCodeUnreachableError: it was not started now; Dagster puts the run back into
                its queue.
            PermanentError: it cannot be started; Dagster fails the run.
        """
        run_id = context.dagster_run.run_id
        request = self._request(context)
        try:
            self._folder.request(run_id)
        except OSError as error:
            raise DagsterUserCodeUnreachableError(
                f"run {run_id} is not started: {explained(error)}"
            ) from error
        try:
            reply = ask(self._folder.path, request, timeout_seconds=self._launch_seconds)
        except TransientError as error:
            if self._folder.withdraw(run_id):
                raise DagsterUserCodeUnreachableError(
                    f"run {run_id} is not started: {error}"
                ) from error
            return  # only the reply was lost
        if reply.refusal is not None:
            self._folder.withdraw(run_id)
            self._refuse(context.dagster_run, reply)

    def _request(self, context: LaunchRunContext) -> Request:
        run = context.dagster_run
        origin = run.remote_job_origin
        if origin is None or context.workspace is None or context.job_code_origin is None:
            raise PermanentError(f"run {run.run_id} does not say where its code is")
        name = origin.repository_origin.code_location_origin.location_name
        location = context.workspace.get_code_location(name)
        if not isinstance(location, GrpcServerCodeLocation):
            raise PermanentError(f"code location {name} has no code server")
        arguments = ExecuteRunArgs(
            job_origin=context.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        return Request(
            action="launch",
            run_id=run.run_id,
            code_server_id=location.server_id,
            arguments=("dagster", *arguments.get_command_args()[-3:]),
        )

    def _refuse(self, run: dg.DagsterRun, reply: Reply) -> None:
        if reply.may_retry:
            raise DagsterUserCodeUnreachableError(
                f"run {run.run_id} is not started: {reply.refusal}"
            )
        record = self._folder.read(run.run_id)
        if record is not None and record.is_alive:
            self._instance.report_engine_event(
                f"The run was launched again, and has a process already: {reply.refusal}", run
            )
            return
        raise PermanentError(reply.refusal)

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to end: its worker requeues its jobs first.

        Returns:
            Whether it was asked; False if it has ended, or cannot be reached.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        request = Request(action="terminate", run_id=run_id)
        try:
            reply = ask(self._folder.path, request, timeout_seconds=_TERMINATE_SECONDS)
        except TransientError as error:
            if self._terminate_directly(run_id):
                return True
            self._instance.report_engine_event(f"The run cannot be ended now: {error}", run)
            return False
        return reply.refusal is None

    def _terminate_directly(self, run_id: str) -> bool:
        """Signal a process of this machine, or of this container, while there is no server."""
        record = self._folder.read(run_id)
        process = record.process.find() if record and record.is_alive else None
        if process is None:
            return False
        process.send_signal(signal.SIGTERM)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Tell Dagster's run monitoring to ask for the processes of runs."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether the process of a run exists; no fork server is needed for that."""
        record = self._folder.read(run.run_id)
        if record is None:
            return CheckRunHealthResult(
                WorkerStatus.NOT_FOUND, f"no process of run {run.run_id} is recorded"
            )
        if record.is_alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(record.process.pid))
        return CheckRunHealthResult(WorkerStatus.FAILED, explain_end(run.run_id, record.exit_code))
