"""The whole stack as a process of its own, on free ports: ready, used by others, gone."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest

from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import REPOSITORY
from influencerai_dagster.dagster_client.queries import LAUNCH
from influencerai_dagster.local.environment import stack_environment
from influencerai_dagster.local.services import Stack
from influencerai_dagster.media.safetensors_files import read_header
from influencerai_dagster.processes import is_running
from influencerai_dagster.settings import VARIABLES, Settings, load_settings
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

START_SECONDS = 90.0
STOP_SECONDS = 25.0
PORTS = (
    "dagster_webserver_port",
    "local_postgres_port",
    "local_s3_port",
    "local_comfyui_port",
    "local_openrouter_port",
    "local_code_server_port",
    "port",
)
# The real definitions have tests of their own: these load quickly.
DEFINITIONS = """
import time
from pathlib import Path

import dagster as dg

@dg.op(config_schema={"path": str})
def wait(context):
    while not Path(context.op_config["path"]).exists():
        time.sleep(0.1)

@dg.job
def stub_job():
    wait()

defs = dg.Definitions(jobs=[stub_job])
"""
PROGRAM = """
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.local.stack import Stack, run_stack
from influencerai_dagster.settings import VARIABLES, load_settings

def problem(url):
    return DagsterGraphQL(url, "influencerai").location_problem()

stack = Stack(
    load_settings(),
    location_problem=problem,
    definitions_module="stub_definitions",
    alive_seconds=15.0,
)
run_stack(stack, lambda: print("ready", flush=True), announce=lambda line: print(line, flush=True))
print("down", flush=True)
"""


@dataclass
class Running:
    settings: Settings
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    children: list[psutil.Process] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.strip() for line in self.process.stdout)


@pytest.fixture(scope="module")
def stack(servers_dir: Path) -> Iterator[Running]:
    folder = servers_dir / "stack"
    folder.mkdir()
    (folder / "stub_definitions.py").write_text(DEFINITIONS)
    ports = {name: free_port() for name in PORTS}
    settings = load_settings((), data_dir=folder / "data", **ports)
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **{name.upper(): str(port) for name, port in ports.items()},
        "DATA_DIR": str(settings.local.data_dir),
        "PYTHONPATH": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Running(settings, process)
    reader = threading.Thread(target=running.read)
    reader.start()
    try:
        wait_until(
            lambda: "ready" in running.lines or process.poll() is not None,
            "the stack is ready",
            timeout_seconds=START_SECONDS,
        )
        assert running.lines == ["ready"], running.lines
        running.children = psutil.Process(process.pid).children(recursive=True)
        yield running
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        reader.join()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ask(stack: Running, query: str, **variables: Any) -> Any:
    url = f"http://127.0.0.1:{stack.settings.dagster.webserver_port}/graphql"
    return httpx.post(url, json={"query": query, "variables": variables}, timeout=30).json()["data"]


def test_the_web_server_has_the_code_location(stack: Running) -> None:
    nodes = "... on RepositoryConnection { nodes { jobs { name } } }"
    data = ask(stack, f"{{ repositoriesOrError {{ {nodes} }} }}")
    (repository,) = data["repositoriesOrError"]["nodes"]
    assert "stub_job" in [job["name"] for job in repository["jobs"]]


def test_both_databases_are_there_and_the_catalog_is_migrated(stack: Running) -> None:
    environment = stack_environment(stack.settings)
    for name, table in (("DATABASE_URL", "tenants"), ("DAGSTER_DATABASE_URL", "runs")):
        connection = psycopg2.connect(environment[name])
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
            assert cursor.fetchone() == (0,)
        connection.close()


def test_a_bucket_of_another_name_has_a_folder_of_that_name(tmp_path: Path) -> None:
    settings = load_settings((), data_dir=tmp_path, s3_bucket="photos")
    stack = Stack(settings, location_problem=lambda _: None)
    assert stack.bucket_dir == tmp_path / "photos"


def test_the_pools_have_the_limits_of_the_settings(stack: Running) -> None:
    connection = psycopg2.connect(stack_environment(stack.settings)["DAGSTER_DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        cursor.execute('SELECT concurrency_key, "limit" FROM concurrency_limits')
        assert dict(cursor.fetchall()) == {
            "image_generation": 3,
            "video_generation": 2,
            "lora_training": 1,
        }
    connection.close()


def test_the_simulated_engines_have_base_models(stack: Running) -> None:
    url = f"http://127.0.0.1:{stack.settings.local.comfyui_port}/models/checkpoints"
    checkpoints = httpx.get(url).json()
    assert {"v1-5-pruned-emaonly.safetensors", "svd_xt.safetensors"} <= set(checkpoints)


def test_the_daemon_is_alive(stack: Running) -> None:
    query = "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"

    def is_healthy() -> bool:
        statuses = ask(stack, query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(status["healthy"] for status in statuses if status["required"])

    wait_until(is_healthy, "all daemons are healthy", timeout_seconds=START_SECONDS)


def test_other_commands_find_it(stack: Running) -> None:
    text = (stack.settings.local.data_dir / "stack.env").read_text()
    assert f"LOCAL_S3_PORT={stack.settings.local.s3_port}" not in text
    assert f"S3_ENDPOINT='http://127.0.0.1:{stack.settings.local.s3_port}'" in text


def test_what_it_writes_is_for_its_owner_alone(stack: Running) -> None:
    folder = stack.settings.local.data_dir
    assert folder.stat().st_mode & 0o076 == 0
    closed = [path for path in folder.iterdir() if path.stat().st_mode & 0o077 == 0]
    assert {path.name for path in closed} == {path.name for path in folder.iterdir()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "logs").iterdir())


def code_server(stack: Running) -> psutil.Process | None:
    """The newest code server; one that waits for its parent is none."""
    found = [
        process
        for process in psutil.Process(stack.process.pid).children()
        if is_running(process) and {"api", "grpc"} <= set(process.cmdline())
    ]
    return found[0] if len(found) == 1 else None


def launch(stack: Running, go_on: Path) -> str:
    """Launch a run that ends when a file is there, as soon as the code server takes it."""
    params = {
        "selector": {
            "repositoryLocationName": CODE_LOCATION,
            "repositoryName": REPOSITORY,
            "jobName": "stub_job",
        },
        "runConfigData": {"ops": {"wait": {"config": {"path": str(go_on)}}}},
    }

    def launched() -> str | None:
        answer = ask(stack, LAUNCH, params=params)["launchRun"]
        return str(answer["run"]["runId"]) if "run" in answer else None

    return wait_until(launched, "a run is launched", timeout_seconds=START_SECONDS) or ""


def run_status(stack: Running, run_id: str) -> str:
    found = ask(stack, f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status }} }} }}')
    return str(found["runOrError"]["status"])


def wait_for_status(stack: Running, run_id: str, status: str) -> None:
    wait_until(
        lambda: run_status(stack, run_id) == status,
        f"run {run_id} is {status}",
        timeout_seconds=START_SECONDS,
    )


def test_a_frozen_code_server_comes_back_by_itself_and_its_run_goes_on(
    stack: Running, tmp_path: Path
) -> None:
    frozen = code_server(stack)
    assert frozen is not None
    first = launch(stack, tmp_path / "go-on")
    wait_for_status(stack, first, "STARTED")
    frozen.suspend()
    wait_until(
        lambda: code_server(stack) not in {frozen, None},
        "another code server",
        timeout_seconds=START_SECONDS,
    )
    assert any("code-server has not answered for" in line for line in stack.lines)
    written = (stack.settings.local.data_dir / "logs" / "supervisor.log").read_text()
    assert "code-server has not answered for" in written
    (tmp_path / "go-on").touch()
    second = launch(stack, tmp_path / "go-on")
    for run_id in (first, second):
        wait_for_status(stack, run_id, "SUCCESS")


def test_a_second_one_in_the_same_folder_is_refused_and_harms_nothing(stack: Running) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"DATA_DIR": str(stack.settings.local.data_dir), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"already (process {stack.process.pid})" in done.stderr
    assert (stack.settings.local.data_dir / "stack.env").exists()


def test_secrets_are_on_no_command_line(stack: Running) -> None:
    environment = stack_environment(stack.settings)
    secrets = [environment["S3_SECRET"], environment["DATABASE_URL"]]
    for process in stack.children:
        with suppress(psutil.NoSuchProcess):
            assert not any(secret in " ".join(process.cmdline()) for secret in secrets)


def test_no_file_of_the_stack_is_in_a_bucket(stack: Running) -> None:
    assert not list((stack.settings.local.data_dir / "assets").iterdir())


def test_sigterm_ends_all_of_it(stack: Running) -> None:
    stack.children = psutil.Process(stack.process.pid).children(recursive=True)
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(STOP_SECONDS) == 0
    wait_until(
        lambda: not any(is_running(child) for child in stack.children),
        "all children end",
        timeout_seconds=2,
    )
    wait_until(lambda: stack.lines[-1] == "down", "it says that it is down", timeout_seconds=2)
    assert not (stack.settings.local.data_dir / "stack.env").exists()
    assert not (stack.settings.local.data_dir / "stack-processes.json").exists()


def test_a_first_start_that_is_cut_short_leaves_no_half_model(tmp_path: Path) -> None:
    program = f"""
import resource
from influencerai_dagster.local.services import Stack
from influencerai_dagster.settings import VARIABLES, load_settings
stack = Stack(load_settings(data_dir={str(tmp_path)!r}), location_problem=lambda _: None)
(comfyui,) = [service for service in stack.services() if service.name == "comfyui"]
resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
comfyui.prepare()
"""
    models = tmp_path / "models" / "checkpoints"
    cut = subprocess.run(
        [sys.executable, "-c", program.replace("MOST_BYTES", str(2**21))],
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    assert b"File too large" in cut.stderr
    assert not list(models.glob("sd_xl*"))
    subprocess.run(
        [sys.executable, "-c", program.replace("MOST_BYTES", str(2**30))], cwd=tmp_path, check=True
    )
    for model in models.glob("*.safetensors"):
        read_header(model)
    assert list(models.glob("sd_xl*"))


@pytest.mark.parametrize(
    ("variable", "missing"),
    [("comfyui_url", "comfyui"), ("openrouter_api_key", "openrouter")],
)
def test_a_real_engine_is_not_simulated(tmp_path: Path, variable: str, missing: str) -> None:
    real = {"comfyui_url": "http://gpu:8188", "openrouter_api_key": "sk"}[variable]
    settings = load_settings((), data_dir=tmp_path, **{variable: real})
    services = Stack(settings, location_problem=lambda _: None).services()
    names = {service.name for service in services}
    assert missing not in names
    assert len({"comfyui", "openrouter"} & names) == 1
    for service in services:
        assert set(service.needs) <= names


def test_every_port_has_a_setting_of_its_own(tmp_path: Path) -> None:
    settings = load_settings((), data_dir=tmp_path)
    services = Stack(settings, location_problem=lambda _: None).services()
    for service in services:
        if service.port is not None:
            group, field = VARIABLES[service.port_setting]
            assert getattr(getattr(settings, group), field) == service.port
