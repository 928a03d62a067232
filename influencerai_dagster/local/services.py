"""Define the processes of the local stack, and how each is known to be ready.

How processes are kept running is in supervisor.py, their variables are in environment.py.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal_lag import read_wal_lag
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.db.api_role import prepare_api_role
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.files import write_whole
from influencerai_dagster.local.dagster_heartbeats import is_daemon_alive
from influencerai_dagster.local.environment import (
    Simulated,
    api_environment,
    child_environment,
    postgres_server,
    s3_server,
)
from influencerai_dagster.local.probes import answers, forks_runs, responds, serves_dagster
from influencerai_dagster.local.processes import LOOPBACK
from influencerai_dagster.local.supervisor import ALIVE_SECONDS, Service
from influencerai_dagster.program_environment import program_environment
from influencerai_dagster.settings import Settings, process_environment

PROJECT_DIR = Path(__file__).parents[2]
DEFINITIONS_MODULE = "influencerai_dagster.definitions"
_DAGSTER_PROCESS = (sys.executable, "-m", "influencerai_dagster.orchestration.dagster_process")
_ANSWER_SECONDS = 30.0
"""How long a service may take for an answer to the question whether it is alive."""

LocationProblem = Callable[[str], str | None]


class Stack:
    """The processes of the local stack.

    Attributes:
        problem: why the code location was not loaded when the web server was last asked.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        location_problem: LocationProblem,
        definitions_module: str = DEFINITIONS_MODULE,
        alive_seconds: float = ALIVE_SECONDS,
    ) -> None:
        """Make the list; nothing is written or started.

        Args:
            settings: ports, folders, and which engines are real.
            location_problem: asks the web server at a URL why the code location is not loaded;
                None if it is. Raises TransientError while it does not answer.
            definitions_module: what the code server loads.
            alive_seconds: how long the code server may give no answer.
        """
        self.settings = settings
        self.simulated = Simulated.of(settings)
        self._location_problem = location_problem
        self._definitions_module = definitions_module
        self._alive_seconds = alive_seconds
        self.problem: str | None = None
        self._data_dir = settings.local.data_dir.resolve()
        self._models_dir = self._data_dir / "models"

    @cached_property
    def environment(self) -> dict[str, str]:
        """The complete environment of the stack's processes."""
        return child_environment(self.settings, process_environment())

    @property
    def dagster_url(self) -> str:
        """Where the UI is."""
        return f"http://{LOOPBACK}:{self.settings.dagster.webserver_port}"

    @property
    def api_url(self) -> str:
        """Where the tenants' API is."""
        return f"http://{LOOPBACK}:{self.settings.api.port}"

    @property
    def bucket_dir(self) -> Path:
        """Where the objects of the bucket are, as files."""
        return Path(self.environment["S3_DISK"])

    def services(self) -> list[Service]:
        """Return all processes; those that take longest to start come first."""
        return [
            self._code_server(),
            *self._dagster(),
            self._api(),
            *self._simulators(),
            *self._servers(),
        ]

    def _servers(self) -> Iterator[Service]:
        inherited = program_environment(inherited=process_environment())
        yield postgres_server(self.settings).service(inherited, port_setting="LOCAL_POSTGRES_PORT")
        yield s3_server(self.settings).service(inherited, port_setting="LOCAL_S3_PORT")
        if self.settings.backup.database_mode == "barman":
            yield wal_receiver(self.environment)

    def _simulators(self) -> Iterator[Service]:
        package = "influencerai_dagster.simulators"
        environment = program_environment(inherited=process_environment())
        environment["PYTHONUNBUFFERED"] = "1"
        if self.simulated.comfyui:
            port = self.settings.local.comfyui_port
            folders = {
                "--models-dir": self._models_dir,
                "--input-dir": self._data_dir / "comfyui" / "input",
                "--output-dir": self._data_dir / "comfyui" / "output",
            }
            arguments = [f"{name}={folder}" for name, folder in folders.items()]
            yield Service(
                name="comfyui",
                command=[sys.executable, "-m", f"{package}.comfyui", f"--port={port}", *arguments],
                environment=environment,
                prepare=self._write_models,
                is_ready=lambda: answers(f"http://{LOOPBACK}:{port}/system_stats"),
                is_alive=lambda: responds(
                    f"http://{LOOPBACK}:{port}/system_stats", _ANSWER_SECONDS
                ),
                port=port,
                port_setting="LOCAL_COMFYUI_PORT",
            )
        if self.simulated.openrouter:
            openrouter_port = self.settings.local.openrouter_port
            models_url = f"http://{LOOPBACK}:{openrouter_port}/api/v1/models"
            yield Service(
                name="openrouter",
                command=[
                    *(sys.executable, "-m", f"{package}.openrouter"),
                    f"--port={openrouter_port}",
                ],
                environment=environment,
                is_ready=lambda: answers(models_url),
                is_alive=lambda: responds(models_url, _ANSWER_SECONDS),
                port=openrouter_port,
                port_setting="LOCAL_OPENROUTER_PORT",
            )

    def _code_server(self) -> Service:
        code_port = self.settings.local.code_server_port
        return Service(
            name="code-server",
            command=[
                *(sys.executable, "-m", "influencerai_dagster.orchestration.run_launcher"),
                *("dagster", "api", "grpc"),
                *("--host", LOOPBACK, "--port", str(code_port)),
                *("--location-name", CODE_LOCATION, "--module-name", self._definitions_module),
                "--use-python-environment-entry-point",  # runs use this Python, whatever PATH says
                "--max-workers=16",  # slow ticks must not keep the question waiting if it lives
            ],
            environment=self.environment,
            prepare=self._write_models,
            is_ready=lambda: serves_dagster(code_port),
            is_alive=self._is_code_server_alive,
            alive_seconds=self._alive_seconds,
            leaves_children=True,
            port=code_port,
            port_setting="LOCAL_CODE_SERVER_PORT",
            stop_seconds=1.0,
            start_seconds=120,
        )

    def _is_code_server_alive(self) -> bool:
        return serves_dagster(
            self.settings.local.code_server_port, timeout_seconds=_ANSWER_SECONDS
        ) and forks_runs(Path(self.environment["DAGSTER_HOME"]), _ANSWER_SECONDS)

    def _dagster(self) -> Iterator[Service]:
        workspace = str(_project_file("workspace.yaml"))
        yield Service(
            name="dagster-storage",
            command=[
                *(sys.executable, "-m", "influencerai_dagster.cli"),
                *("dagster", "prepare", "--fail-orphans"),
            ],
            environment=self.environment,
            needs=["postgres"],
            is_task=True,
            prepare=self._prepare_storage,
        )
        yield Service(
            name="webserver",
            command=[
                *(sys.executable, "-m", "influencerai_dagster.cli", "webserver"),
                *("--workspace", workspace),
            ],
            environment=self.environment,
            needs=["dagster-storage", "code-server"],
            is_ready=self._is_location_loaded,
            is_alive=lambda: responds(f"{self.dagster_url}/healthz", _ANSWER_SECONDS),
            port=self.settings.dagster.webserver_port,
            port_setting="DAGSTER_WEBSERVER_PORT",
            start_seconds=120,
        )
        yield Service(
            name="daemon",
            # Quiet: it would log every few seconds of each sensor that it had nothing to do.
            command=[
                *(*_DAGSTER_PROCESS, "dagster-daemon", "run", "-w", workspace),
                *("--log-level", "warning"),
            ],
            environment=self.environment,
            is_alive=self._is_daemon_alive,
            alive_seconds=300,
            needs=[
                *("dagster-storage", "code-server", "object-store"),
                *(service.name for service in self._simulators()),
            ],
        )

    def _api(self) -> Service:
        return Service(
            name="api",
            command=[sys.executable, "-m", "influencerai_dagster.cli", "api"],
            environment=api_environment(self.settings, self.environment),
            needs=["dagster-storage", "object-store"],
            is_ready=lambda: answers(f"{self.api_url}/ready"),
            is_alive=lambda: responds(f"{self.api_url}/health", _ANSWER_SECONDS),
            port=self.settings.api.port,
            port_setting="PORT",
            stop_seconds=15.0,
        )

    def _write_models(self) -> None:
        """Make the folders, and base models where a simulated engine reads them."""
        for folder in ("comfyui/input", "comfyui/output", "models/loras", "models/checkpoints"):
            (self._data_dir / folder).mkdir(parents=True, exist_ok=True)
        if not (self.simulated.comfyui or self.simulated.kohya):
            return
        module = "influencerai_dagster.simulators.base_models"
        command = [sys.executable, "-m", module, str(self._models_dir)]
        subprocess.run(command, env=dict(self.environment), check=True)  # noqa: S603 - our own

    def _prepare_storage(self) -> None:
        from influencerai_dagster.db import migrate  # noqa: PLC0415 - imports Alembic

        # No run is alive now: copies of a killed training are of no use; its log stays.
        for name in ("images", "output"):
            for folder in (self._data_dir / "training").glob(f"*/*/{name}"):
                shutil.rmtree(folder)
        home = Path(self.environment["DAGSTER_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        write_whole(home / "dagster.yaml", _project_file("dagster.yaml").read_bytes())
        for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL"):
            migrate.ensure_database(self.environment[name])
        migrate.upgrade(self.environment["DATABASE_URL"])
        prepare_api_role(self.environment["DATABASE_URL"])

    @cached_property
    def _dagster_database(self) -> Engine:
        return create_catalog_engine(self.environment["DAGSTER_DATABASE_URL"])

    def _is_daemon_alive(self) -> bool:
        return is_daemon_alive(self._dagster_database)

    def _is_location_loaded(self) -> bool:
        try:
            self.problem = self._location_problem(self.dagster_url)
        except TransientError as error:
            self.problem = str(error)
        return self.problem is None


def _project_file(name: str) -> Path:
    path = PROJECT_DIR / name
    if not path.exists():
        raise PermanentError(f"{path} is missing: the local stack runs from a clone of the project")
    return path


def wal_receiver(environment: Mapping[str, str]) -> Service:
    """Return the service that receives WAL as long as PostgreSQL runs."""
    command = [sys.executable, "-m", "influencerai_dagster.cli", "backup", "receive-wal"]
    return Service(
        name="wal-receiver",
        command=command,
        environment=environment,
        needs=["dagster-storage"],  # which makes the databases
        is_alive=lambda: _is_receiving(environment),
        alive_seconds=300,
    )


def _is_receiving(environment: Mapping[str, str]) -> bool:
    """Ask PostgreSQL whether a program receives WAL; true while PostgreSQL does not answer."""
    url = environment.get("BACKUP_DATABASE_URL") or environment["DATABASE_URL"]
    try:
        return read_wal_lag(url, BarmanServer.slot_name, None).is_receiving
    except TransientError:
        return True
