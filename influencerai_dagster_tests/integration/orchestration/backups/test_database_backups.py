"""`database_backup` in Dagster: a run, its metadata, its checks, its sensor and schedules."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.definitions import build_definitions
from influencerai_dagster.orchestration.backups.database_backup_sensor import database_backup_sensor
from influencerai_dagster.orchestration.resources.backups import DatabaseBackupSetup
from influencerai_dagster.settings import load_settings, settings_from
from influencerai_dagster_tests.testing.database_server import DatabaseServer

LONG_AGO = "2026-11-01T00:00:00+00:00"


@dataclass
class Backups:
    """The code location on a server whose WAL is received."""

    server: DatabaseServer
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    resource: DatabaseBackupSetup

    def run(self, **config: str) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("backup_database_job").execute_in_process(
            run_config={"ops": {"database_backup": {"config": config}}},
            instance=self.instance,
            raise_on_error=False,
        )

    def tick(self, cursor: str | None = LONG_AGO) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=self.instance, cursor=cursor)
        result = database_backup_sensor(context, database_backups=self.resource)
        assert isinstance(result, dg.SensorResult)
        return result


def setup_of(server: DatabaseServer, **changes: str) -> DatabaseBackupSetup:
    variables = {
        "BACKUP_HOME": str(server.barman.home),
        "DATABASE_URL": server.environment["DATABASE_URL"],
        "DAGSTER_DATABASE_URL": server.environment["DAGSTER_DATABASE_URL"],
        "BACKUP_POSTGRES_BIN_DIR": server.environment["BACKUP_POSTGRES_BIN_DIR"],
    }
    return DatabaseBackupSetup(settings_from(variables | changes))


@pytest.fixture
def backups(
    database_server: DatabaseServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backups]:
    monkeypatch.setenv("DATABASE_URL", database_url)  # the catalog, with the heartbeat
    resource = setup_of(database_server)
    definitions = build_definitions(load_settings(), {"database_backups": resource})
    with dg.DagsterInstance.ephemeral() as instance:
        yield Backups(database_server, definitions, instance, resource)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node("database_backup")
    return {name: value.value for name, value in event.metadata.items()}


def test_a_run_takes_what_it_is_asked_for_and_shows_it(backups: Backups) -> None:
    full = backups.server.barman.backup(BackupKind.FULL)
    incremental = backups.run(kind="incremental")
    shown = metadata(incremental)
    taken = backups.server.barman.list_backups()[-1]
    assert shown["kind"] == "incremental"
    assert shown["backup_id"] == taken.backup_id
    assert shown["size_bytes"] == taken.size_bytes
    assert shown["seconds"] == taken.seconds
    assert shown["wal"] == f"{taken.begin_wal} to {taken.end_wal}"
    assert shown["is_receiving_wal"] is True
    assert shown["num_backups"] == len(backups.server.barman.list_backups())
    table = shown["backups"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["backup"] for record in table.records[:2]] == [
        taken.backup_id,
        full.backup_id,
    ]
    evaluations = incremental.get_asset_check_evaluations()
    assert {item.check_name: item.passed for item in evaluations} == {
        "no_database_backup_is_too_old": True,
        "wal_is_received": True,
    }


def test_a_schedule_that_comes_after_the_catch_up_takes_nothing_twice(backups: Backups) -> None:
    missed = datetime.now(UTC)
    assert backups.run(kind="full").success  # what the sensor asked for
    before = backups.server.barman.list_backups()
    late = backups.run(kind="full", asked_at=missed.isoformat())
    assert late.success
    assert metadata(late)["reason"] == f"{before[-1].backup_id} was taken in the meantime"
    assert backups.server.barman.list_backups() == before


def test_a_failure_that_passes_is_tried_again(
    backups: Backups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "influencerai_dagster.orchestration.failures.MAX_RETRIES", 0
    )  # the delays are Dagster's
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    resource = setup_of(backups.server, BACKUP_HOME=str(tmp_path), BACKUP_DATABASE_URL=away)
    definitions = build_definitions(load_settings(), {"database_backups": resource})
    result = Backups(backups.server, definitions, backups.instance, resource).run(kind="full")
    assert not result.success
    (retried,) = [event for event in result.all_events if event.is_step_failure]
    assert "PostgreSQL did not answer" in str(retried.step_failure_data.error)


def test_the_schedules_ask_for_their_kind_at_their_time(backups: Backups) -> None:
    for name, kind in (
        ("database_backup_full_schedule", "full"),
        ("database_backup_incremental_schedule", "incremental"),
    ):
        schedule = backups.definitions.resolve_schedule_def(name)
        moment = datetime(2026, 11, 25, 2, tzinfo=UTC)
        context = dg.build_schedule_context(
            instance=backups.instance, scheduled_execution_time=moment
        )
        (request,) = schedule.evaluate_tick(context).run_requests or []
        config = request.run_config["ops"]["database_backup"]["config"]
        assert config == {"kind": kind, "asked_at": moment.isoformat()}


def test_a_tick_observes_the_lag_and_reports_both_checks(backups: Backups) -> None:
    backups.server.barman.backup(BackupKind.FULL)
    result = backups.tick()
    assert not result.run_requests
    assert result.skip_reason is not None
    observation, *checks = result.asset_events
    assert isinstance(observation, dg.AssetObservation)
    assert observation.metadata["is_receiving_wal"].value is True
    assert isinstance(observation.metadata["wal_lag_bytes"].value, int)
    assert [item.passed for item in checks if isinstance(item, dg.AssetCheckEvaluation)] == [
        True,
        True,
    ]


def test_an_outcome_that_stays_the_same_is_not_told_at_every_tick(
    backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reported() -> list[bool]:
        events = backups.tick().asset_events
        assert isinstance(events[0], dg.AssetObservation)
        for event in events:
            backups.instance.report_runless_asset_event(event)
        return [event.passed for event in events if isinstance(event, dg.AssetCheckEvaluation)]

    backups.server.barman.backup(BackupKind.FULL)
    assert (reported(), reported()) == ([True, True], [])
    no_wal = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("database_backup"), check_name="wal_is_received", passed=False
    )
    backups.instance.report_runless_asset_event(no_wal)
    assert (reported(), reported()) == ([True], [])
    monkeypatch.setattr(
        "influencerai_dagster.orchestration.backups.database_backup_sensor.REPORT_AGAIN_AFTER",
        timedelta(0),
    )
    assert reported() == [True, True]


@pytest.fixture
def dumps(backups: Backups, tmp_path: Path) -> Backups:
    """Backups by pg_dump: of any age, without a server to wait for."""
    resource = setup_of(backups.server, BACKUP_DATABASE_MODE="pg_dump", BACKUP_HOME=str(tmp_path))
    return Backups(backups.server, backups.definitions, backups.instance, resource)


def dump(home: Path, hours_ago: float) -> None:
    end = datetime.now(UTC) - timedelta(hours=hours_ago)
    folder = home / "dumps" / f"{end:%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True)
    record = {"begin": end.isoformat(), "end": end.isoformat(), "files": {}}
    (folder / "dump.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (dg.DagsterRunStatus.STARTED, "a dump backup is due, but a run for it is active"),
        (dg.DagsterRunStatus.FAILURE, "failed less than an hour ago"),
    ],
    ids=["it runs", "it failed"],
)
def test_a_tick_that_was_missed_is_caught_up_once(
    dumps: Backups, tmp_path: Path, status: dg.DagsterRunStatus, reason: str
) -> None:
    dump(tmp_path, hours_ago=20)  # the daemon was down at 08:00 and 14:00
    (request,) = dumps.tick().run_requests or []
    assert request.run_config["ops"]["database_backup"]["config"]["kind"] == "dump"
    job = dumps.definitions.resolve_job_def("backup_database_job")
    dumps.instance.create_run_for_job(job, status=status)
    again = dumps.tick()
    assert not again.run_requests
    assert again.skip_reason is not None
    assert reason in str(again.skip_reason.skip_message)


def is_fresh(result: dg.SensorResult) -> bool:
    """Tell how a tick reported the check of the backups' age."""
    (check,) = [
        item
        for item in result.asset_events
        if isinstance(item, dg.AssetCheckEvaluation)
        and item.check_name == "no_database_backup_is_too_old"
    ]
    return check.passed


def test_the_first_backup_of_a_new_installation_waits_a_quarter_of_an_hour(
    dumps: Backups,
) -> None:
    first = dumps.tick(cursor=None)
    assert not first.run_requests
    assert "the first one waits until" in str(first.skip_reason)
    assert not dumps.tick(cursor=first.cursor).run_requests
    began = datetime.fromisoformat(str(first.cursor))
    later = dumps.tick(cursor=(began - timedelta(minutes=16)).isoformat())
    assert len(later.run_requests or []) == 1
    assert [is_fresh(result) for result in (first, later)] == [True, False]
    ahead = dumps.tick(cursor=(began + timedelta(days=9)).isoformat())  # a clock was set back
    assert datetime.fromisoformat(str(ahead.cursor)) <= datetime.now(UTC)


def test_a_backup_that_is_too_old_makes_its_check_red_and_is_named(
    dumps: Backups, tmp_path: Path
) -> None:
    dump(tmp_path, hours_ago=31)
    (check,) = [
        item
        for item in dumps.tick().asset_events
        if isinstance(item, dg.AssetCheckEvaluation)
        and item.check_name == "no_database_backup_is_too_old"
    ]
    assert not check.passed
    assert check.description == (
        "the newest dump backup is 31.0 h old, allowed are 24.0 h; "
        "the newest backup of any kind is 31.0 h old, allowed are 6.0 h"
    )


def test_a_server_that_does_not_answer_makes_the_check_of_wal_red(backups: Backups) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    resource = setup_of(backups.server, BACKUP_DATABASE_URL=away)
    result = Backups(backups.server, backups.definitions, backups.instance, resource).tick()
    (check,) = [
        item
        for item in result.asset_events
        if isinstance(item, dg.AssetCheckEvaluation) and item.check_name == "wal_is_received"
    ]
    assert not check.passed
    assert "Connection refused" in (check.description or "")
