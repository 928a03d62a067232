"""A program of Dagster as a process of its own: what it prints, and when it ends."""

import subprocess
import sys
from pathlib import Path

MODULE = "influencerai_dagster.orchestration.dagster_process"


def python(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
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
