import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg2
import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.supervisor import Supervisor
from influencerai_dagster_tests.testing.ports import free_port


@pytest.fixture
def server(servers_dir: Path, request: pytest.FixtureRequest) -> PostgresServer:
    folder = servers_dir / request.node.name
    return PostgresServer(folder / "postgres", free_port(), "p/w: ünsafe", is_durable=False)


@pytest.fixture
def supervisor(server: PostgresServer) -> Iterator[Supervisor]:
    with make_supervisor(server) as supervisor:
        supervisor.start()
        yield supervisor


def make_supervisor(server: PostgresServer) -> Supervisor:
    service = server.service(os.environ)
    return Supervisor([service], data_dir=server.data_dir.parent, announce=print)


def query(url: str, sql: str) -> str:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0]) if cursor.description else ""  # type: ignore[index]
    finally:
        connection.close()


def postmaster_pid(server: PostgresServer) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])


def test_serves_version_18_with_what_backups_need(postgres_url: str) -> None:
    assert query(postgres_url, "SHOW server_version").startswith("18")
    assert query(postgres_url, "SHOW wal_level") == "replica"
    assert query(postgres_url, "SHOW server_encoding") == "UTF8"


def test_listens_on_the_loopback_interface_only(postgres_url: str) -> None:
    assert query(postgres_url, "SHOW listen_addresses") == "127.0.0.1"
    assert query(postgres_url, "SHOW unix_socket_directories") == ""


def test_refuses_a_wrong_password(postgres_server: PostgresServer) -> None:
    wrong = PostgresServer(postgres_server.data_dir, postgres_server.port, "wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong.url())


def test_a_new_test_database_has_the_catalog(database_url: str) -> None:
    assert query(database_url, "SELECT count(*) FROM tenants") == "0"


def test_keeps_data_and_password_over_a_kill_and_a_new_start(server: PostgresServer) -> None:
    with make_supervisor(server) as supervisor:
        supervisor.start()
        query(server.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(postmaster_pid(server), signal.SIGKILL)
    assert (server.data_dir / "postmaster.pid").exists()
    with make_supervisor(server) as supervisor:
        supervisor.start()
        assert query(server.url(), "SELECT answer FROM kept") == "42"


def test_starts_although_the_process_id_in_the_lock_has_a_new_owner(
    server: PostgresServer,
) -> None:
    with make_supervisor(server) as supervisor:
        supervisor.start()
        lock = (server.data_dir / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lock[0] = str(stranger.pid)
        (server.data_dir / "postmaster.pid").write_text("\n".join(lock))
        with make_supervisor(server) as supervisor:
            supervisor.start()
            assert query(server.url(), "SELECT 1") == "1"
        assert stranger.poll() is None
    finally:
        stranger.communicate()


def test_does_not_take_the_data_from_a_server_that_runs(
    server: PostgresServer, supervisor: Supervisor
) -> None:
    pid = postmaster_pid(server)
    with pytest.raises(PermanentError, match=rf"runs in .* already \(process {pid}\)"):
        server.service(os.environ).prepare()
    assert supervisor.stopping.is_set() is False
    assert query(server.url(), "SELECT 1") == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_user_without_a_name_sees_that_the_server_is_ready(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nameless = partial(subprocess.run, user=12345, group=12345, extra_groups=[])
    monkeypatch.setattr(subprocess, "run", nameless)
    service = postgres_server.service({})
    assert service.is_ready()
    assert service.is_alive is not None
    assert service.is_alive()


def test_a_user_without_a_name_is_told_what_to_do_at_the_first_start(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermanentError, match=r"user 12345, who has no name .*/etc/passwd"):
        server.service({}).prepare()


def test_a_server_that_is_frozen_does_not_answer(
    server: PostgresServer, supervisor: Supervisor
) -> None:
    del supervisor
    is_alive = replace(server, ask_seconds=1).service({}).is_alive
    assert is_alive is not None
    assert is_alive()
    os.kill(postmaster_pid(server), signal.SIGSTOP)
    assert not is_alive()
    os.kill(postmaster_pid(server), signal.SIGCONT)
    assert is_alive()


def test_the_data_directory_is_closed_to_others(
    server: PostgresServer, supervisor: Supervisor
) -> None:
    del supervisor
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == stat.S_IRWXU


def test_a_half_made_data_directory_is_made_again(server: PostgresServer) -> None:
    staging = server.data_dir.with_name("postgres.new")
    staging.mkdir(parents=True)
    (staging / "PG_VERSION").write_text("18\n")
    with make_supervisor(server) as supervisor:
        supervisor.start()
        assert query(server.url(), "SELECT 1") == "1"
