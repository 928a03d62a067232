"""`influencerai status | logs | open | down`: the stack from another terminal."""

import json
import os
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.local.folder_lock import FolderLock
from influencerai_dagster.local.processes import RECORD_FILE
from influencerai_dagster_tests.testing.catalog_rows import claim_one, complete_job, submit_one
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.ports import free_port

NOT_UTF8 = "\N{REPLACEMENT CHARACTER}"
SUPERVISOR = """
import signal, sys
from pathlib import Path
from influencerai_dagster.local.supervisor import Service, Supervisor
folder = Path(sys.argv[1])
waiter = [sys.executable, "-c", "import time; time.sleep(600)"]
with Supervisor([Service("sleeper", waiter)], data_dir=folder, announce=print) as supervisor:
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stopping.set())
    supervisor.start()
    print("ready", flush=True)
    supervisor.watch()
"""


@pytest.fixture
def logs(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """The command line with the logs of a stack that has ended."""
    cli.environment.setenv("DATA_DIR", str(tmp_path))
    (tmp_path / "logs").mkdir()
    text = "".join(f"line {number} [x]\n" for number in range(100))
    (tmp_path / "logs" / "daemon.log").write_text(text)
    (tmp_path / "logs" / "webserver.log").write_text("")
    return cli


def test_logs_are_listed_and_the_end_of_one_is_printed(logs: CommandLine) -> None:
    rows = logs("logs").out.splitlines()
    assert [line.split("\t")[0] for line in rows] == ["service", "daemon", "webserver"]
    assert logs("logs", "daemon", "--lines", "2").out == "line 98 [x]\nline 99 [x]\n"


def test_an_unknown_log_is_told_with_those_that_there_are(logs: CommandLine) -> None:
    answer = logs("logs", "deamon")
    assert answer.exit_code == 1
    assert "Did you mean 'daemon'? The logs are daemon, webserver" in answer


@pytest.mark.usefixtures("logs")
def test_a_log_is_followed_also_when_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "webserver.log"
    command = [sys.executable, "-m", "influencerai_dagster.cli", "logs", "webserver", "--follow"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        path.write_text("first, and long\n")
        assert process.stdout.readline() == "first, and long\n"
        path.write_text("second\n")
        assert process.stdout.readline() == "second\n"
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.usefixtures("logs")
def test_a_line_is_printed_once_whatever_bytes_a_program_wrote(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "webserver.log"
    path.write_bytes(b"step 1 \xff\xfe\xfd\r\nstep 2\r\n")
    command = [sys.executable, "-m", "influencerai_dagster.cli", "logs", "webserver", "--follow"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"step 1 {NOT_UTF8 * 3}\n".encode()
        assert process.stdout.readline() == b"step 2\n"
        with path.open("ab") as log:
            log.write(b"step 3\n")
        assert process.stdout.readline() == b"step 3\n"
    finally:
        process.terminate()
        process.communicate()


def test_the_ui_is_opened_in_a_browser_and_its_address_printed(cli: CommandLine) -> None:
    opened: list[str] = []

    class Browser(webbrowser.BaseBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002
            opened.append(url)
            return True

    cli.environment.setenv("DAGSTER_URL", "http://127.0.0.1:3999")
    cli.environment.setattr(webbrowser, "get", Browser)
    assert cli("open").out == "http://127.0.0.1:3999\n"
    assert cli("open", "--no-browser").out == "http://127.0.0.1:3999\n"
    assert opened == ["http://127.0.0.1:3999"]


def test_the_address_of_a_file_is_printed_where_there_is_no_browser(cli: CommandLine) -> None:
    def no_browser() -> webbrowser.BaseBrowser:
        raise webbrowser.Error("none")

    cli.environment.setattr(webbrowser, "get", no_browser)
    with transaction(cli.engine) as session:
        add_tenant(session, "demo")
    submit_one(cli.engine)
    job = claim_one(cli.engine)
    assert "is running: it has no file to link to" in cli("open", str(job.id), "--tenant", "demo")
    complete_job(cli.engine, job)
    found = json.loads(cli("open", str(job.id), "--tenant", "demo", "--json").out)
    assert f"images/demo/{job.id}/output.png?" in found["url"]
    assert found["is_opened"] is False
    assert "name its tenant with --tenant" in cli("open", str(job.id))


def test_a_stack_that_starts_is_told_of_and_is_stopped_from_another_terminal(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.environment.setenv("DATA_DIR", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, tmp_path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        cli.environment.delenv("DATABASE_URL")
        assert f"(process {process.pid}) is just starting" in cli("tenant", "list")
        answer = cli("down")
        assert answer.exit_code == 0
        assert f"the stack in {tmp_path} is stopped" in answer
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()
    assert f"no stack runs in {tmp_path}" in cli("down")


def test_the_status_says_of_every_part_how_it_is(cli: CommandLine, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name, value in {
        "DAGSTER_URL": nowhere,
        "COMFYUI_URL": nowhere,
        "BACKUP_DATABASE_MODE": "pg_dump",
        "BACKUP_HOME": str(tmp_path / "backups"),
    }.items():
        cli.environment.setenv(name, value)
    with transaction(cli.engine) as session:
        add_tenant(session, "demo")
    submit_one(cli.engine)

    answer = cli("status", "--json")

    found = {item["part"]: (item["state"], item["text"]) for item in json.loads(answer.out)}
    assert answer.exit_code == 1
    assert {part for part, (state, _) in found.items() if state == "ok"} == {
        *("PostgreSQL", "S3", "jobs", "disk")
    }
    assert found["jobs"][1].startswith("1 pending, 0 running")
    assert "influencerai backup now" in found["database backup"][1]
    assert "does not answer" in found["Dagster"][1]


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_a_line_that_nobody_can_read_any_more_stops_no_supervisor(is_terminal: bool) -> None:  # noqa: FBT001
    reader, writer = os.openpty() if is_terminal else os.pipe()
    program = "from influencerai_dagster.cli import stack; input(); stack._announce('stopped')"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    os.close(reader)
    _, errors = process.communicate(b"\n")
    assert (process.returncode, errors) == (0, b"")


def test_down_leaves_alone_what_a_stack_that_is_just_starting_has(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.environment.setenv("DATA_DIR", str(tmp_path))
    (tmp_path / RECORD_FILE).write_text("of a killed stack")
    with FolderLock(tmp_path):
        answer = cli("down")
    assert answer.exit_code == 1
    assert "A stack runs in" in answer
    assert (tmp_path / RECORD_FILE).exists()
