"""Both databases come back into a server that runs, beside what is there."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg2
import pytest

from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget
from influencerai_dagster.backup.restore.journal import Journal
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster.backup.restore.run import Restore, plan, remove_remains
from influencerai_dagster.backup.restore.server_databases import server_at
from influencerai_dagster.backup.restore.server_target import ServerTarget
from influencerai_dagster.backup.restore.source import Backups, choose
from influencerai_dagster.backup.restore.target import Recovered, Restored, verify_restored
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster_tests.testing.backed_up import BackedUp, execute, restored
from influencerai_dagster_tests.testing.dumped import Dumped

NAMES = ("influencerai", "dagster")
OURS = "datname ~ '^(influencerai|dagster)(_|$)'"


@dataclass(frozen=True)
class Managed:
    """A server that is to get both databases, as its administrator."""

    postgres: PostgresServer
    scratch: Path

    def target(self, databases: BothDatabases, url: str | None = None) -> ServerTarget:
        return ServerTarget(
            server_at(url or self.postgres.url(), databases.names),
            databases,
            self.scratch / "restore",
            programs_dir(),
        )

    def restore(
        self, system: BackedUp, backups: Backups, to: datetime | None, url: str | None = None
    ) -> Restore:
        source = choose(backups, to, datetime.now(UTC))
        return Restore(source, self.target(system.databases, url), system.assets)

    def names(self) -> list[str]:
        """The databases that are or were both databases."""
        names = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE "
        return execute(self.postgres.url(), names + OURS).replace("None", "").split()

    def ask(self, name: str, sql: str) -> str:
        return execute(self.postgres.url(name), sql)


@pytest.fixture
def managed(postgres_server: PostgresServer, scratch: Path) -> Iterator[Managed]:
    server = Managed(postgres_server, scratch)
    yield server
    for process in psutil.process_iter(["cmdline"]):
        if str(scratch) in " ".join(process.info["cmdline"] or []):
            process.kill()
            process.wait(10)
    for name in server.names():
        execute(postgres_server.url(), f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_physical_backup_is_replayed_in_scratch_space_and_arrives_whole(
    backed_up: BackedUp, managed: Managed
) -> None:
    request = managed.restore(backed_up, backed_up.barman, backed_up.before_drop)
    assert [line.split(" ")[0] for line in plan(request).shown_steps] == [
        *("check", "copy", "start", "read", "load", "copy", "verify:", "rename"),
    ]
    assert managed.names() == []
    report = restored(request, print)
    assert report.verification.problems == []
    assert report.verification.num_objects == 3 + 2 * report.verification.rows["loras"]
    assert report.restored_to is not None
    assert report.restored_to <= backed_up.before_drop
    assert managed.names() == sorted(NAMES)
    assert managed.ask("influencerai", "SELECT answer FROM precious") == "42"
    assert managed.ask("influencerai", "SELECT count(*) FROM loras") == "7"
    assert managed.ask("dagster", "SELECT count(*) FROM runs") == "0"
    remains = "SELECT count(*) FROM pg_shdescription JOIN pg_database d ON d.oid = objoid WHERE "
    assert managed.ask("postgres", remains + OURS) == "0"
    assert {path.name for path in request.target.journal_path.parent.iterdir()} == {
        "server.restoring.log"
    }


def test_open_jobs_are_fenced_there_too(dumped: Dumped, managed: Managed) -> None:
    restored(managed.restore(dumped.system, dumped.dumps, None), print)
    before = execute(dumped.system.database_url, "SELECT lease_token FROM jobs")
    assert int(managed.ask("influencerai", "SELECT lease_token FROM jobs")) > int(before)


def test_the_newest_dump_before_the_target_time_is_loaded_and_its_distance_is_said(
    dumped: Dumped, managed: Managed
) -> None:
    begin = dumped.first.begin
    assert begin is not None
    request = managed.restore(dumped.system, dumped.dumps, begin + timedelta(milliseconds=20))
    (warning,) = plan(request).warnings
    assert f"the dump began at {begin.isoformat()}, 0:00:00 h before the target time" in warning
    assert "point-in-time recovery" in warning
    report = restored(request, print)
    assert report.backup_id == dumped.first.backup_id
    assert report.verification.problems == []
    assert managed.ask("influencerai", "SELECT to_regclass('after_the_first_dump')") == "None"
    assert managed.names() == sorted(NAMES)


def test_a_target_time_before_the_first_dump_is_refused(dumped: Dumped) -> None:
    with pytest.raises(PermanentError, match=r"No dump had begun at .* the oldest began at"):
        choose(dumped.dumps, datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC))


def test_dumps_make_a_data_directory_whose_users_have_their_passwords(
    dumped: Dumped, scratch: Path
) -> None:
    target = DataDirTarget(scratch / "restored", dumped.system.databases)
    source = choose(dumped.dumps, None, datetime.now(UTC))
    report = restored(Restore(source, target, dumped.system.assets), print)
    assert report.verification.problems == []
    with RestoredServer(scratch / "restored", programs_dir()) as server:
        url = server.url_of(dumped.system.database_url)
        assert execute(url, "SELECT count(*) FROM loras") == "9"
        stored = "SELECT rolpassword FROM pg_authid WHERE rolname = current_user"
        assert execute(url, stored).startswith("SCRAM-SHA-256$")
    assert "scram-sha-256" in (scratch / "restored" / "pg_hba.conf").read_text()


def test_what_is_restored_belongs_to_the_users_of_the_settings_where_they_are(
    dumped: Dumped, managed: Managed
) -> None:
    execute(managed.postgres.url(), "CREATE ROLE app LOGIN")
    execute(managed.postgres.url(), "CREATE ROLE boss LOGIN CREATEDB PASSWORD 'p' IN ROLE app")
    url = f"postgresql://boss:p@127.0.0.1:{managed.postgres.port}/"
    databases = dumped.system.databases.at(lambda item: item.replace("influencerai:", "app:"))
    source = choose(replace(dumped.dumps, database_urls=databases.urls), None, datetime.now(UTC))
    request = Restore(source, managed.target(databases, url), dumped.system.assets)
    try:
        assert len(plan(request).warnings) == 1
        restored(request, print)
        owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'"
        assert managed.ask("influencerai", owners) == "app"
        settings = (
            "SELECT count(*) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase"
        )
        assert managed.ask("postgres", f"{settings} WHERE {OURS}") == "0"
    finally:
        for name in managed.names():
            execute(managed.postgres.url(), f'DROP DATABASE "{name}" WITH (FORCE)')
        execute(managed.postgres.url(), "DROP ROLE boss, app")


def test_users_that_are_not_there_are_named_first(dumped: Dumped, managed: Managed) -> None:
    databases = dumped.system.databases.at(lambda item: item.replace("influencerai:", "absent:"))
    assert managed.target(databases).warnings() == [
        f"User absent is not on 127.0.0.1:{managed.postgres.port}, or you may not act for them: "
        "the restored database belongs to the user of --into"
    ]


def test_databases_with_content_are_left_alone_without_force_and_renamed_with_it(
    dumped: Dumped, managed: Managed
) -> None:
    for name in NAMES:
        execute(managed.postgres.url(), f"CREATE DATABASE {name}")
    execute(managed.postgres.url("dagster"), "CREATE TABLE mine AS SELECT 7 AS number")
    request = managed.restore(dumped.system, dumped.dumps, None)
    with pytest.raises(PermanentError, match=r"Database dagster on .* is not empty"):
        restored(request, print)
    assert "is not empty" in plan(request).problems[0]
    assert managed.names() == sorted(NAMES)
    report = restored(replace(request, is_forced=True), print)
    moved = next(name for name in managed.names() if name.startswith("dagster_replaced_"))
    assert re.fullmatch(r"dagster_replaced_\d{8}T\d{6}Z", moved)
    assert moved in (report.moved_aside or "")
    assert execute(managed.postgres.url(moved), "SELECT number FROM mine") == "7"
    assert managed.ask("influencerai", "SELECT count(*) FROM loras") == "9"


@pytest.mark.parametrize("is_forced", [False, True], ids=["not forced", "forced"])
def test_databases_that_clients_use_are_never_touched(
    dumped: Dumped, managed: Managed, *, is_forced: bool
) -> None:
    execute(managed.postgres.url(), "CREATE DATABASE influencerai")
    url = f"{managed.postgres.url('influencerai')}?application_name=the%20API"
    request = replace(managed.restore(dumped.system, dumped.dumps, None), is_forced=is_forced)
    words = r"Clients are connected to database influencerai .*: the API \(1\)\. Stop them first"
    with closing(psycopg2.connect(url)):
        with pytest.raises(PermanentError, match=words):
            restored(request, print)
        assert re.search(words, plan(request).problems[0])
    assert managed.names() == ["influencerai"]


def test_a_client_that_came_during_the_restore_stops_the_renaming_of_both(
    dumped: Dumped, managed: Managed
) -> None:
    execute(managed.postgres.url(), "CREATE DATABASE dagster")
    request = managed.restore(dumped.system, dumped.dumps, None)
    target = request.target
    for name in NAMES:
        server_at(managed.postgres.url(), NAMES).make_staging(name, None)
    words = r"Clients are connected to database dagster on .*: a client without a name \(1\)"
    with (
        closing(psycopg2.connect(managed.postgres.url("dagster"))),
        pytest.raises(PermanentError, match=words),
    ):
        target.promote()
    assert managed.names() == ["dagster", "dagster_restoring", "influencerai_restoring"]


def test_the_live_server_is_safe_from_a_restore_into_it_by_mistake(
    dumped: Dumped, managed: Managed
) -> None:
    live = dumped.system.postgres.url()
    refusal = r"Database influencerai on .* is not empty|Clients are connected to database"
    with pytest.raises(PermanentError, match=refusal):
        restored(managed.restore(dumped.system, dumped.dumps, None, live), print)


def test_a_database_like_a_staging_database_that_no_restore_made_is_left_alone(
    dumped: Dumped, managed: Managed
) -> None:
    execute(managed.postgres.url(), "CREATE DATABASE dagster_restoring")
    execute(managed.postgres.url("dagster_restoring"), "CREATE TABLE mine ()")
    with pytest.raises(PermanentError, match=r"dagster_restoring on .* was not created by"):
        restored(managed.restore(dumped.system, dumped.dumps, None), print)
    assert managed.ask("dagster_restoring", "SELECT count(*) FROM mine") == "0"


def test_a_server_that_is_older_than_the_backup_is_refused(
    backed_up: BackedUp, managed: Managed, scratch: Path
) -> None:
    system = backed_up.copied(scratch / "copy")
    for path in system.barman.folder.glob("base/*/data/PG_VERSION"):
        path.unlink()  # it is shared with the whole backup
        path.write_text("99\n")
    (problem,) = plan(managed.restore(system, system.barman, None)).problems
    assert re.search(r"is PostgreSQL 18, the backup is of PostgreSQL 99: name a server", problem)


def test_a_dump_tells_the_version_of_its_server(dumped: Dumped) -> None:
    assert dumped.dumps.major_version(dumped.first.backup_id) == 18


def test_a_user_who_may_not_create_databases_is_refused(dumped: Dumped, managed: Managed) -> None:
    execute(managed.postgres.url(), "CREATE ROLE guest LOGIN PASSWORD 'p'")
    url = f"postgresql://guest:p@127.0.0.1:{managed.postgres.port}/"
    try:
        (problem,) = plan(managed.restore(dumped.system, dumped.dumps, None, url)).problems
    finally:
        execute(managed.postgres.url(), "DROP ROLE guest")
    assert "User guest may not create databases" in problem
    assert "ALTER ROLE guest CREATEDB" in problem


def test_steps_that_were_done_with_another_backup_are_done_again(scratch: Path) -> None:
    path, request = scratch / "restore.json", {"--to": "latest"}
    Journal(path, request, "20261120T020000").note("load databases", 1.0)
    for backup_id, done in {"20261120T020000": ["load databases"], "20261121T020000": []}.items():
        journal = Journal(path, request, backup_id)
        journal.load(is_forced=False)
        assert list(journal.seconds_by_step) == done


def test_rows_that_did_not_arrive_are_named(backed_up: BackedUp) -> None:
    before = Recovered(rows={"loras": 10, "tenants": 1}, migrated_from=None, restored_to=None)
    with pytest.raises(PermanentError, match=r"table loras has 9 rows, 10 were dumped$"):
        verify_restored(Restored(backed_up.databases, None, before), "there")


KILLED_AT = {
    "while it dumps": "read every row there",
    "while it loads": "load both databases",
    "while it renames": "rename both",
    "after it has renamed": "",
}


def killed(request: Restore, words: str, is_reached: Callable[[], bool]) -> None:
    """Run a restore in a process of its own, that dies as `kill -9` ends it."""
    child = os.fork()
    if child:
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        return

    def die() -> None:
        while not is_reached():
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    def log(line: str) -> None:
        if words and line.startswith(words):
            threading.Thread(target=die).start()

    if not words:
        pytest.MonkeyPatch().setattr(ServerTarget, "clear", lambda _: die())
    try:
        restored(request, log)
    finally:
        os._exit(0)


@pytest.mark.parametrize("words", KILLED_AT.values(), ids=KILLED_AT)
def test_a_restore_that_was_killed_goes_on_when_it_is_asked_for_again(
    dumped: Dumped, managed: Managed, words: str
) -> None:
    is_loading = words == KILLED_AT["while it loads"]
    is_physical = is_loading or words == KILLED_AT["while it dumps"]
    backups = dumped.system.barman if is_physical else dumped.dumps
    request = managed.restore(dumped.system, backups, dumped.system.newest if is_physical else None)
    killed(request, words, lambda: not is_loading or "influencerai_restoring" in managed.names())
    if not words:
        assert all(line.endswith("(done already)") for line in plan(request).shown_steps)
        assert plan(request).is_promoted
    if plan(request).is_promoted:
        remove_remains(plan(request))
    else:
        said: list[str] = []
        assert restored(request, said.append).verification.problems == []
        assert any(line.startswith("resuming after") for line in said)
        assert not any(line.startswith(("check", "copy it")) for line in said)
    assert managed.names() == sorted(NAMES)
    assert managed.ask("influencerai", "SELECT count(*) FROM loras") == "9"
    assert not request.target.journal_path.exists()
