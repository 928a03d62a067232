"""What the stack costs without work, beside an empty project of Dagster on its default settings.

Both have a daemon, a code server and PostgreSQL, and idle in the same minutes. CPU seconds are
those of all processes, ended ones too, so that other programs of the machine do not count.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from uuid import uuid4

import psutil
from sqlalchemy import text

from benchmarks.comparisons import Comparison
from benchmarks.servers import running_services, temporary_folder
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.probes import serves_dagster
from influencerai_dagster.local.processes import LOOPBACK, RECORD_FILE
from influencerai_dagster.local.stack import Stack, run_stack
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster.settings import load_settings
from influencerai_dagster_tests.testing.ports import free_port

SETTLE_SECONDS = 60.0
SECONDS = 60.0
ROUNDS = 5
_GOAL_PERCENT = 5.0
_HOUR = 3600.0
_SENSOR_SECONDS = 5.0
_PORTS = (
    *("dagster_webserver_port", "local_postgres_port", "local_s3_port", "local_comfyui_port"),
    *("local_openrouter_port", "local_code_server_port", "port"),
)
_ROWS = text("SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables")
_WAL = text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
_DAGSTER_YAML = "storage:\n  postgres:\n    postgres_url:\n      env: DAGSTER_DATABASE_URL\n"
_WORKSPACE = "load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}}}\n"
_PROGRAMS = Path(sys.executable).parent
_DEFINITIONS = "import dagster as dg\n\ndefs = dg.Definitions()\n"


@dataclass(frozen=True)
class Idle:
    """What a group of processes has used until now, or in a time.

    Attributes:
        cpu_seconds: of all its processes.
        num_rows: that were inserted.
        wal_bytes: that PostgreSQL has written.
        num_lines: of its logs.
    """

    cpu_seconds: float
    num_rows: float
    wal_bytes: float
    num_lines: float

    @classmethod
    def until_now(cls, data_dir: Path, database_urls: Sequence[str]) -> "Idle":
        """Return what the processes that a supervisor recorded have used since their start."""
        logs = (data_dir / "logs").glob("*.log")
        return cls(
            cpu_seconds=_cpu_seconds(data_dir),
            num_rows=sum(_number(url, _ROWS) for url in database_urls),
            wal_bytes=_number(database_urls[0], _WAL),
            num_lines=sum(path.read_bytes().count(b"\n") for path in logs),
        )

    def since(self, before: "Idle", seconds: float) -> Mapping[str, float]:
        """Return what was used in a second, by name."""
        names = [field.name for field in fields(self)]
        return {name: (getattr(self, name) - getattr(before, name)) / seconds for name in names}


def run() -> Sequence[Comparison]:
    """Measure five minutes, minute by minute."""
    ours: list[Mapping[str, float]] = []
    empty: list[Mapping[str, float]] = []
    with _empty_project() as (empty_dir, empty_url), temporary_folder() as folder:
        settings = load_settings(
            (), data_dir=folder / "data", **{name: free_port() for name in _PORTS}
        )
        stack = Stack(settings, location_problem=_location_problem)
        urls = [stack.environment[name] for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL")]

        def measure() -> None:
            time.sleep(SETTLE_SECONDS)
            for _ in range(ROUNDS):
                started = time.monotonic()
                before = (
                    Idle.until_now(folder / "data", urls),
                    Idle.until_now(empty_dir, [empty_url]),
                )
                time.sleep(SECONDS)
                seconds = time.monotonic() - started
                ours.append(Idle.until_now(folder / "data", urls).since(before[0], seconds))
                empty.append(Idle.until_now(empty_dir, [empty_url]).since(before[1], seconds))

        run_stack(stack, measure, announce=print, stays_up=False)
    cpu, empty_cpu = _each(ours, "cpu_seconds", 100.0), _each(empty, "cpu_seconds", 100.0)
    wal = [statistics.mean(_each(side, "wal_bytes", _HOUR / 1000**2)) for side in (ours, empty)]
    rows, lines = _each(ours, "num_rows", _HOUR), _each(ours, "num_lines", _HOUR)
    sensor, a_minute = [_HOUR / _SENSOR_SECONDS] * ROUNDS, [60.0] * ROUNDS
    return [
        _comparison("CPU", "the goal", "% of a core", cpu, [_GOAL_PERCENT] * ROUNDS),
        _comparison("CPU", "an empty project of Dagster", "% of a core", cpu, empty_cpu),
        _comparison("WAL", "an empty project of Dagster", "MB/h", wal[:1], wal[1:]),
        _comparison("rows inserted", "ticks of one sensor, each 5 s", "rows/h", rows, sensor),
        _comparison("lines logged", "one a minute", "lines/h", lines, a_minute),
    ]


def _each(minutes: Sequence[Mapping[str, float]], name: str, factor: float) -> list[float]:
    return [factor * minute[name] for minute in minutes]


def _comparison(
    what: str, baseline_name: str, unit: str, measured: list[float], baseline: list[float]
) -> Comparison:
    return Comparison(
        name=f"stack without work: {what}",
        baseline_name=baseline_name,
        unit=unit,
        measured=measured,
        baseline=baseline,
        better="lower",
    )


def _location_problem(url: str) -> str | None:
    with closing(DagsterGraphQL(url, CODE_LOCATION)) as dagster:
        return dagster.location_problem()


@contextmanager
def _empty_project() -> Iterator[tuple[Path, str]]:
    """Run a daemon and a code server without any definition; yield their folder and database."""
    with temporary_folder() as folder:
        postgres = PostgresServer(folder / "postgres", free_port(), uuid4().hex)
        port, url = free_port(), f"{postgres.url('postgres')}?sslmode=disable"
        (folder / "dagster.yaml").write_text(_DAGSTER_YAML)
        (folder / "workspace.yaml").write_text(_WORKSPACE.format(port=port))
        (folder / "empty_project.py").write_text(_DEFINITIONS)
        environment = {**os.environ, "DAGSTER_HOME": str(folder), "DAGSTER_DATABASE_URL": url}
        services = [
            postgres.service(os.environ),
            Service(
                name="code-server",
                command=[
                    *(str(_PROGRAMS / "dagster"), "api", "grpc"),
                    *("--python-file", str(folder / "empty_project.py")),
                    *("--host", LOOPBACK, "--port", str(port)),
                ],
                environment=environment,
                needs=["postgres"],
                is_ready=lambda: serves_dagster(port),
            ),
            Service(
                name="daemon",
                command=[
                    *(str(_PROGRAMS / "dagster-daemon"), "run"),
                    *("--workspace", str(folder / "workspace.yaml")),
                ],
                environment=environment,
                needs=["code-server"],
            ),
        ]
        with running_services(services, folder):
            yield folder, url


def _cpu_seconds(data_dir: Path) -> float:
    """Return the CPU of the services, their children, and children that have ended.

    The supervisor, which is this process, counts for both sides.
    """
    record = json.loads((data_dir / RECORD_FILE).read_text())
    seconds = 0.0
    for pid in map(int, record["started"]):
        if pid == os.getpid():
            seconds += sum(psutil.Process().cpu_times()[:2])
            continue
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    seconds += sum(one.cpu_times()[:4])
    return seconds


def _number(url: str, query: object) -> float:
    engine = create_catalog_engine(url)
    with engine.connect() as connection:
        found = float(connection.scalar(query))  # type: ignore[call-overload]
    engine.dispose()
    return found
