"""A program of Dagster as a process of its own: what it prints, and when it ends."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml  # type: ignore[import-untyped] # its stubs are not in the lock file

from influencerai_dagster_tests.testing.paths import PROJECT_DIR

MODULE = "influencerai_dagster.orchestration.dagster_process"


def python(
    program: str, variables: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | dict(variables or {}),
    )


def test_the_program_runs_as_its_own_command_would(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", MODULE, "dagster", "api", "grpc", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "--heartbeat" in done.stdout


def with_a_thread(name: str) -> "subprocess.CompletedProcess[str]":
    """Let a thread die of an error while the main thread waits for something else."""
    return python(f"""
import threading, time
from {MODULE} import end_with_own_threads
threading.excepthook = end_with_own_threads
def die():
    raise OSError("the database took no writes")
thread = threading.Thread(target=die, name={name!r})
thread.start()
thread.join()
print("went on", flush=True)
""")


def test_the_process_ends_when_the_thread_dies_that_looks_after_runs() -> None:
    done = with_a_thread("grpc-server-cleanup")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the database took no writes" in done.stderr
    assert "The thread grpc-server-cleanup died" in done.stderr


def test_the_process_goes_on_when_another_thread_dies() -> None:
    done = with_a_thread("anything")
    assert (done.returncode, done.stdout) == (0, "went on\n")


def test_every_line_is_printed_once_also_after_a_warning_of_dagster_without_a_logger() -> None:
    done = python(f"""
import logging, sys
from unittest.mock import Mock
import {MODULE} as process
from dagster._utils.log import configure_loggers

def program():
    configure_loggers(log_level="INFO")
    logging.warning("Retrying failed database connection")  # what dagster_postgres does
    logging.getLogger("dagster.daemon.SensorDaemon").warning("a sensor failed")

process.entry_points = lambda **_: [Mock(load=lambda: program)]
sys.argv = ["process", "dagster-daemon"]
process.main()
""")
    text = done.stdout + done.stderr
    assert text.count("a sensor failed") == 1
    assert text.count("Retrying failed database connection") == 1


def time_limits(variables: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return how long Dagster waits for a code server in a process that was started so."""
    done = python(
        f"""
import json, sys
from unittest.mock import Mock
import {MODULE} as process

def program():
    from dagster._grpc import client, utils
    print(json.dumps({{
        "start a run": client.DEFAULT_GRPC_TIMEOUT,
        "sensor": client.DEFAULT_SENSOR_GRPC_TIMEOUT,
        "schedule": client.DEFAULT_SCHEDULE_GRPC_TIMEOUT,
        "load": client.DEFAULT_REPOSITORY_GRPC_TIMEOUT,
        "shut down": utils.default_grpc_server_shutdown_grace_period(),
    }}))

process.entry_points = lambda **_: [Mock(load=lambda: program)]
sys.argv = ["process", "dagster-daemon"]
process.main()
""",
        variables,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_a_start_is_waited_for_until_the_run_has_started_or_failed() -> None:
    dagster_yaml = PROJECT_DIR / "dagster.yaml"
    monitoring = yaml.safe_load(dagster_yaml.read_text(encoding="utf-8"))["run_monitoring"]
    longest = monitoring["start_timeout_seconds"] + monitoring["poll_interval_seconds"]
    limits = time_limits()
    assert limits.pop("start a run") > longest
    assert limits == {"sensor": 60, "schedule": 60, "load": 180, "shut down": 60}


def test_a_time_limit_of_the_environment_wins() -> None:
    assert time_limits({"DAGSTER_GRPC_TIMEOUT_SECONDS": "300"})["start a run"] == 300
