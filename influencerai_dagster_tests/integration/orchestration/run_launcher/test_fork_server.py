"""The fork server as a process, while it, its runs and its clients are frozen and killed."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.run_launcher.protocol import Request
from influencerai_dagster.orchestration.run_launcher.run_records import RunRecord
from influencerai_dagster_tests.testing.fork_server import RunningForkServer, launch_request
from influencerai_dagster_tests.testing.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Longer than the address of a Unix socket, and odd."""
    return tmp_path / ("a folder with ünïcode and ' quotes " * 4) / "run_launcher"


@pytest.fixture
def server(folder: Path) -> Iterator[RunningForkServer]:
    running = RunningForkServer(folder).wait_until_ready()
    yield running
    end_runs(running)
    running.kill()


@pytest.fixture
def run_id() -> str:
    return str(uuid4())


def end_runs(server: RunningForkServer) -> None:
    for record in server.folder.records():
        if (process := record.process.find()) is not None:
            process.kill()


def record(server: RunningForkServer, run_id: str) -> RunRecord:
    found = server.folder.read(run_id)
    assert found is not None
    return found


def wait_for_end(server: RunningForkServer, run_id: str) -> RunRecord:
    wait_until(lambda: record(server, run_id).exit_code is not None, f"the end of run {run_id}")
    return record(server, run_id)


def process_of(server: RunningForkServer, run_id: str) -> psutil.Process:
    found = record(server, run_id).process.find()
    assert found is not None
    return found


def test_a_run_has_a_process_of_its_own_and_its_end_is_recorded(
    server: RunningForkServer, run_id: str
) -> None:
    reply = server.launch(run_id, "sleep", "0.5")
    assert reply.refusal is None
    process = process_of(server, run_id)
    assert process.ppid() == server.process.pid
    assert os.getsid(process.pid) == process.pid
    assert process.name().startswith("run ")
    assert record(server, run_id).is_alive
    ended = wait_for_end(server, run_id)
    assert (ended.is_alive, ended.exit_code) == (False, 0)
    assert server.reports() == []
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("arguments", [("sleep", "30"), ("exit", "0")], ids=["alive", "ended"])
def test_a_run_is_not_started_twice(
    server: RunningForkServer, run_id: str, arguments: tuple[str, ...]
) -> None:
    assert server.launch(run_id, *arguments).refusal is None
    if arguments[0] == "exit":
        wait_for_end(server, run_id)
    before = record(server, run_id)
    again = server.launch(run_id, *arguments)
    assert again.refusal == f"run {run_id} is not started: it has a process already, or had one"
    assert not again.may_retry
    assert record(server, run_id) == before


@pytest.mark.parametrize(
    ("end", "code"), [("exit 3", 3), ("kill", -9)], ids=["exit code", "signal"]
)
def test_a_run_whose_process_failed_is_reported(
    server: RunningForkServer, run_id: str, end: str, code: int
) -> None:
    server.launch(run_id, *(["sleep", "30"] if end == "kill" else end.split()))
    if end == "kill":
        process_of(server, run_id).kill()
    assert wait_for_end(server, run_id).exit_code == code
    wait_until(lambda: server.reports() == [f"{run_id} {code}"], "the report")


def test_runs_survive_the_server_and_the_next_one_watches_them(
    server: RunningForkServer, folder: Path, run_id: str
) -> None:
    server.launch(run_id, "sleep", "30")
    ended_meanwhile = str(uuid4())
    server.launch(ended_meanwhile, "sleep", "30")
    process = process_of(server, run_id)
    server.kill()
    process_of(server, ended_meanwhile).kill()
    assert record(server, run_id).is_alive
    following = RunningForkServer(folder).wait_until_ready()
    try:
        assert following.launch(run_id, "sleep", "30").refusal is not None
        describe = Request(action="describe")
        wait_until(lambda: following.ask(describe).num_runs == 1, "the refused process has ended")
        wait_until(lambda: following.reports() == [f"{ended_meanwhile} None"], "the first report")
        assert following.ask(Request(action="terminate", run_id=run_id)).pid == process.pid
        wait_until(lambda: f"{run_id} None" in following.reports(), "the second report")
    finally:
        following.kill()


def test_a_request_that_was_withdrawn_while_the_server_was_frozen_starts_nothing(
    server: RunningForkServer, run_id: str
) -> None:
    server.process.send_signal(signal.SIGSTOP)
    server.folder.request(run_id)
    with pytest.raises(TransientError, match=r"did not answer within 0\.2 s"):
        server.ask(launch_request(run_id, "sleep", "30"), timeout_seconds=0.2)
    assert server.folder.withdraw(run_id)
    server.process.send_signal(signal.SIGCONT)
    other = str(uuid4())
    assert server.launch(other, "exit", "0").refusal is None  # after the first request
    wait_for_end(server, other)
    assert server.folder.read(run_id) is None


def test_a_launcher_that_lost_the_reply_finds_out_that_the_run_was_started(
    server: RunningForkServer, folder: Path, run_id: str
) -> None:
    server.folder.request(run_id)
    descriptor = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.connect(f"/proc/self/fd/{descriptor}/socket")
        launcher.sendall(launch_request(run_id, "sleep", "30").model_dump_json().encode() + b"\n")
    os.close(descriptor)
    wait_until(lambda: server.folder.read(run_id) is not None, "the record")
    assert not server.folder.withdraw(run_id)
    assert record(server, run_id).is_alive


def test_a_client_that_sends_no_request_blocks_nobody(
    server: RunningForkServer, folder: Path, run_id: str
) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as frozen, socket.socket(socket.AF_UNIX) as rubbish:
        for client in (frozen, rubbish):
            client.connect(f"/proc/self/fd/{descriptor}/socket")
        frozen.sendall(b'{"action": ')
        rubbish.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert server.launch(run_id, "exit", "0").refusal is None
        assert rubbish.recv(100) == b""
    os.close(descriptor)


def test_a_run_of_other_definitions_is_refused(server: RunningForkServer, run_id: str) -> None:
    server.folder.request(run_id)
    reply = server.ask(launch_request(run_id, "sleep", "30", server_id="code-server-0"))
    assert reply.may_retry
    assert "the definitions of another code server" in str(reply.refusal)
    assert server.folder.read(run_id) is None


def test_a_run_that_ignores_the_signal_is_killed(server: RunningForkServer, run_id: str) -> None:
    server.launch(run_id, "ignore-term")
    wait_until(lambda: process_of(server, run_id).name().startswith("run"), "the process")
    server.ask(Request(action="terminate", run_id=run_id))
    assert wait_for_end(server, run_id).exit_code in {-9, -15}


def test_a_run_that_is_stopped_for_long_is_killed_and_reported(
    server: RunningForkServer, run_id: str
) -> None:
    server.launch(run_id, "sleep", "30")
    process_of(server, run_id).suspend()
    assert wait_for_end(server, run_id).exit_code == -9
    wait_until(lambda: server.reports() == [f"{run_id} -9"], "the report")


def test_a_run_has_no_file_or_socket_of_the_server(
    server: RunningForkServer, run_id: str, tmp_path: Path
) -> None:
    server.launch(run_id, "files", str(tmp_path / "files"))
    wait_for_end(server, run_id)
    links = (tmp_path / "files").read_text().splitlines()
    assert not [link for link in links if "socket" in link or link.startswith("anon_inode")]
    assert not [link for link in links if link.endswith("/lock")]


def test_the_folder_is_for_its_owner_alone(server: RunningForkServer) -> None:
    for path in (server.folder.path, *server.folder.path.iterdir()):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_second_server_of_a_folder_does_not_start(
    server: RunningForkServer, folder: Path
) -> None:
    second = RunningForkServer(folder)
    assert second.process.wait(30) == 1
    assert "another fork server runs in" in second.log.read_text()
    assert server.answers()


def test_a_server_with_threads_does_not_start(folder: Path) -> None:
    server = RunningForkServer(folder, "--thread")
    assert server.process.wait(30) == 1
    assert "has 2 threads" in server.log.read_text()


def test_a_run_waits_while_the_disk_is_full(folder: Path, run_id: str) -> None:
    server = RunningForkServer(folder, "--full-disk")
    try:
        wait_until(server.answers, "the fork server")
        reply = server.launch(run_id, "sleep", "30")
        assert reply.may_retry
        assert "its process cannot be recorded" in str(reply.refusal)
        assert server.folder.read(run_id) is None
    finally:
        server.kill()


def test_server_and_code_server_end_together(server: RunningForkServer) -> None:
    code_server = psutil.Process(server.code_server_pid())
    code_server.kill()
    assert server.process.wait(20) == 1


def test_the_code_server_ends_with_a_killed_server(server: RunningForkServer) -> None:
    code_server = psutil.Process(server.code_server_pid())
    server.kill()
    wait_until(lambda: not code_server.is_running(), "the end of the code server")


def test_sigterm_ends_server_and_code_server_but_no_run(
    server: RunningForkServer, run_id: str
) -> None:
    server.launch(run_id, "sleep", "30")
    code_server = psutil.Process(server.code_server_pid())
    server.process.terminate()
    assert server.process.wait(20) in {0, 1}
    assert not code_server.is_running()
    assert record(server, run_id).is_alive


def test_records_of_runs_that_ended_long_ago_are_deleted(
    server: RunningForkServer, run_id: str
) -> None:
    alive = str(uuid4())
    server.launch(run_id, "exit", "0")
    server.launch(alive, "sleep", "30")
    wait_for_end(server, run_id)
    server.folder.prune()
    assert server.folder.read(run_id) is not None
    server.folder.prune(kept_seconds=-1)
    assert server.folder.read(run_id) is None
    assert record(server, alive).is_alive
