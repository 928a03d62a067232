"""What a killed restore left running is ended by the next one, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from influencerai_dagster.backup.restore.data_dir_target import end_leftovers
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster.db.data_dir import init_data_dir, running_postgres, server_user
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import programs_dir
from influencerai_dagster.processes import STARTED_BY, as_user, is_running, leftover_programs
from influencerai_dagster_tests.testing.waiting import wait_until

PARENT = """
import subprocess, sys
from influencerai_dagster.processes import owned_environment
command = ["tail", "-f", sys.argv[1]]
child = subprocess.Popen(command, env=owned_environment(), stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
child.wait()
"""
"""A process of ours that runs a program on a path."""


@pytest.fixture
def staging(scratch: Path) -> Path:
    """A data directory as a restore makes it."""
    path = scratch / "pg.restoring"
    init_data_dir(
        path, programs_dir(), superuser="app", password=uuid4().hex, options=["--no-sync"]
    )
    return path


@contextmanager
def started(*command: str, **options: object) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def pids(name: Path) -> list[int]:
    return [process.pid for process in leftover_programs(str(name))]


def test_postgresql_of_a_killed_restore_is_ended_and_the_programs_of_others_are_not(
    staging: Path,
) -> None:
    server = RestoredServer(staging, programs_dir())
    child = os.fork()
    if child == 0:  # a process of its own, that dies as `kill -9` ends it
        with server:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = psutil.Process(running_postgres(staging))
    assert is_running(left)
    with (
        started("tail", "-f", str(server.log_path)) as tail,
        started("sleep", "60", env={"FILE": str(staging)}) as editor,
    ):
        end_leftovers(staging)
        assert is_running(tail)
        assert is_running(editor)
    assert running_postgres(staging) is None
    assert not is_running(left)


def test_a_postgresql_that_no_restore_started_is_named_and_lives_on(staging: Path) -> None:
    settings = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={staging}")
    command = (str(programs_dir() / "postgres"), "-D", str(staging), *settings)
    with started(*command, stderr=subprocess.DEVNULL, **as_user(server_user())) as server:
        wait_until(lambda: running_postgres(staging), "PostgreSQL runs")
        with pytest.raises(PermanentError, match=rf"\(process {server.pid}\).*stop it, then try"):
            end_leftovers(staging)
        assert is_running(server)
        server.send_signal(signal.SIGINT)
        server.wait(30)


def test_a_program_is_left_over_when_the_process_that_started_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    program = psutil.Process(int(parent.stdout.readline()))
    assert pids(tmp_path) == []
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert pids(tmp_path) == [program.pid]
    assert pids(tmp_path / "another") == []
    end_leftovers(tmp_path)
    assert not is_running(program)


@pytest.mark.parametrize(
    "mark",
    ["", "1", "one two three", f"{2**22 + 1} 1.0 1"],
    ids=["empty", "cut off", "no numbers", "another container"],
)
def test_a_mark_that_proves_nothing_is_no_reason_to_end_a_program(
    tmp_path: Path, mark: str
) -> None:
    with started("tail", "-f", str(tmp_path), env={STARTED_BY: mark}):
        assert pids(tmp_path) == []
