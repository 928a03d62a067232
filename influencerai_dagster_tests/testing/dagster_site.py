"""Our web server as it runs: PostgreSQL, the code server and `influencerai webserver`."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.db import migrate
from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.probes import listens
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster_tests.chaos.servers import Killable
from influencerai_dagster_tests.testing.database_server import execute, influencerai
from influencerai_dagster_tests.testing.paths import PROJECT_DIR
from influencerai_dagster_tests.testing.ports import free_port

CANARY = "CANARY-of-the-jwt-secret-of-32-characters"
USER, PASSWORD = "operator", "correct horse battery"
PARTITION = "demo/bella"
REPOSITORY = {"repositoryLocationName": "influencerai", "repositoryName": "__repository__"}
START_SECONDS = 90.0


@dataclass(frozen=True)
class Site:
    """A web server with our code location; no daemon takes runs from the queue."""

    url: str
    log: Path
    postgres: Killable
    webserver: Killable
    storage_url: str
    catalog_url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask as an operator's program does."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(
            f"{self.url}/graphql", json=body, auth=(USER, PASSWORD), timeout=60, trust_env=False
        )
        # Dagster says 500 where it has written an error into the data.
        assert answer.status_code == 200 or "PythonError" in answer.text, answer.text
        return dict(answer.json()["data"])

    def num_runs(self) -> int:
        """How many runs there are."""
        ((count,),) = execute(self.storage_url, "SELECT count(*) FROM runs")
        return int(str(count))

    def partitions(self) -> list[str]:
        """The dynamic partitions that there are."""
        rows = execute(self.storage_url, "SELECT partition FROM dynamic_partitions")
        return [str(row[0]) for row in rows]

    def restart_postgres(self) -> None:
        """Crash PostgreSQL and start it again: every connection to it is dead."""
        self.postgres.end(signal.SIGQUIT)
        self.postgres.start()


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Start the three processes in a folder; all of them end with the block."""
    folder.mkdir(parents=True)
    server = PostgresServer(folder / "postgres", free_port(), uuid4().hex, is_durable=False)
    port, code_port = free_port(), free_port()
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_bytes((PROJECT_DIR / "dagster.yaml").read_bytes())
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
        "DATABASE_URL": server.url("influencerai"),
        "DAGSTER_DATABASE_URL": server.url("dagster"),
        "DAGSTER_HOME": str(folder / "home"),
        "DAGSTER_CODE_SERVER_HOST": "127.0.0.1",
        "DAGSTER_CODE_SERVER_PORT": str(code_port),
        "DAGSTER_WEBSERVER_PORT": str(port),
        "DAGSTER_WEBSERVER_USER": USER,
        "DAGSTER_WEBSERVER_PASSWORD": PASSWORD,
        "JWT_SECRET": CANARY,
        "NO_PROXY": "127.0.0.1",
    }
    url = f"http://127.0.0.1:{port}"
    module = ("-m", "influencerai_dagster.definitions", "--location-name", "influencerai")
    code_server = Service(
        name="code-server",
        command=[
            *(sys.executable, "-m", "dagster", "api", "grpc"),
            *("--host", "127.0.0.1", "--port", str(code_port), *module),
        ],
        environment=environment,
        is_ready=lambda: listens(code_port),
    )
    webserver = Service(
        name="webserver",
        command=influencerai("webserver", "--workspace", str(PROJECT_DIR / "workspace.yaml")),
        environment=environment,
        is_ready=lambda: _is_location_loaded(url),
    )
    with ExitStack() as running:

        def start(service: Service) -> Killable:
            killable = Killable(service, folder / f"{service.name}.log")
            running.callback(killable.end)
            killable.start(START_SECONDS)
            return killable

        postgres = start(server.service(os.environ))
        for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL"):
            migrate.ensure_database(environment[name])
        migrate.upgrade(environment["DATABASE_URL"])
        start(code_server)
        running_webserver = start(webserver)
        yield Site(
            url,
            running_webserver.log,
            postgres,
            running_webserver,
            environment["DAGSTER_DATABASE_URL"],
            environment["DATABASE_URL"],
        )


def _is_location_loaded(url: str) -> bool:
    with closing(DagsterGraphQL(url, CODE_LOCATION, credentials=(USER, PASSWORD))) as dagster:
        try:
            return dagster.location_problem() is None
        except TransientError:
            return False


def execution_params(
    job: str, run_config: dict[str, Any], tags: dict[str, str] | None = None
) -> dict[str, Any]:
    """What launchRun takes."""
    all_tags = {"dagster/partition": PARTITION, **(tags or {})}
    return {
        "selector": {**REPOSITORY, "jobName": job},
        "runConfigData": json.dumps(run_config),
        "executionMetadata": {
            "tags": [{"key": key, "value": value} for key, value in all_tags.items()]
        },
    }
