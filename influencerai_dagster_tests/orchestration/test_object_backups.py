"""Assets of backups of objects and of retention, as a run makes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterEventType
from sqlalchemy import text

from influencerai_dagster.catalog import storage_pauses
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.domain.retention import TenantRetention
from influencerai_dagster.orchestration.assets.object_backups import object_backup
from influencerai_dagster.orchestration.assets.retention import RetentionConfig, apply_retention
from influencerai_dagster.orchestration.checks.retention import object_store_has_space
from influencerai_dagster.orchestration.dagster_retention import delete_leftovers, find_leftovers
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_backups import ObjectBackupResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.orchestration.sensors.pending_jobs import pending_jobs_sensor
from influencerai_dagster.orchestration.sensors.storage_pauses import storage_pause_sensor
from influencerai_dagster.stages import storage_pauses as stage
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.catalog.samples import (
    claim_one,
    complete_job,
    image_request,
    submit_one,
)

TENANTS = {"demo": TenantRetention(90)}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    ]
    return {key: item.value for key, item in event.materialization.metadata.items()}


@pytest.fixture
def backups(object_store_resource: ObjectStoreResource, tmp_path: Path) -> ObjectBackupResource:
    return ObjectBackupResource(
        object_store=object_store_resource,
        target=str(tmp_path / "target"),
        endpoint_url=None,
        access_key="",
        secret_key="",
        region="us-east-1",
        encryption_key="key",
        bandwidth_limit="",
        home=str(tmp_path / "home"),
        recovery_window_days=30,
    )


@pytest.fixture
def retention() -> RetentionResource:
    return RetentionResource(days=90, is_dry_run=True, recovery_window_days=30)


def test_a_backup_shows_what_was_copied_and_copies_barmans_folder_off_site(
    backups: ObjectBackupResource, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.put_latest("loras/demo/a.safetensors", b"weights")
    (tmp_path / "home" / "server").mkdir(parents=True)
    (tmp_path / "home" / "server" / "wal").write_bytes(b"wal")
    result = dg.materialize([object_backup], resources={"object_backups": backups})
    found = metadata(result, "object_backup")
    assert (found["num_objects"], found["num_copied"], found["copied_bytes"]) == (1, 2, 10)
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert (tmp_path / "target" / "objects" / "loras/demo/a.safetensors").exists()
    assert (tmp_path / "target" / "barman" / "server" / "wal").exists()


def test_a_backup_that_lacks_an_object_turns_its_check_red_and_names_it(
    backups: ObjectBackupResource, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.put_latest("loras/demo/a.safetensors", b"weights")
    (tmp_path / "target" / "objects" / "loras/demo/a.safetensors" / "x").mkdir(parents=True)
    (tmp_path / "target" / "objects" / "loras/demo/a.safetensors" / "x" / "y").touch()
    result = dg.materialize([object_backup], resources={"object_backups": backups})
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "loras/demo/a.safetensors" in str(check.metadata["failures"])


def test_retention_reports_first_and_deletes_only_when_it_is_no_dry_run(
    catalog: CatalogResource,
    object_store: ObjectStore,
    object_store_resource: ObjectStoreResource,
    retention: RetentionResource,
    instance: dg.DagsterInstance,
) -> None:
    submit_one(catalog.engine, image_request())
    asset = complete_job(catalog.engine, claim_one(catalog.engine))
    object_store.put_latest(asset.object_key, b"png")
    with transaction(catalog.engine) as session:
        session.execute(text("UPDATE media_assets SET created_at = now() - interval '100 days'"))

    def run(**config: bool) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [apply_retention],
            instance=instance,
            resources={
                "catalog": catalog,
                "object_store": object_store_resource,
                "retention": retention,
            },
            run_config=dg.RunConfig({"apply_retention": RetentionConfig(**config)}),
        )

    dry = run()
    assert metadata(dry, "retention_report")["num_delete"] == 1
    assert asset.object_key in str(metadata(dry, "retention_report")["to_delete"])
    assert metadata(dry, "retention_deletions") == {"is_dry_run": True}
    wet = metadata(run(dry_run=False), "retention_deletions")
    assert (wet["num_deleted"], wet["num_removed"]) == (1, 0)
    assert metadata(run(), "retention_report")["num_wait"] == 1
    assert object_store.head(asset.object_key)


@pytest.fixture
def pause(catalog: CatalogResource, object_store: ObjectStore) -> Any:
    with transaction(catalog.engine) as session:
        storage_pauses.report_full(session, object_store.bucket, "no space left")
    yield
    with transaction(catalog.engine) as session:
        session.execute(text("TRUNCATE storage_pauses"))


def has_space(catalog: CatalogResource, retention: RetentionResource) -> bool:
    result = object_store_has_space(catalog, retention)
    assert isinstance(result, dg.AssetCheckResult)
    return bool(result.passed)


@pytest.mark.usefixtures("pause")
def test_a_full_store_is_an_alert_that_ends_by_itself(
    catalog: CatalogResource,
    object_store_resource: ObjectStoreResource,
    retention: RetentionResource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit_one(catalog.engine, image_request())
    assert not has_space(catalog, retention)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources={"catalog": catalog}) as context,
    ):
        assert "full: no space left" in str(pending_jobs_sensor(context))

    def tick(cursor: str | None) -> Any:
        resources = {
            "catalog": catalog,
            "object_store": object_store_resource,
            "retention": retention,
        }
        with dg.build_sensor_context(cursor=cursor, resources=resources) as context:
            return storage_pause_sensor(context)

    first = tick(None)
    (alert,) = first.asset_events
    assert not alert.passed
    assert "Retention could free 0 bytes now" in alert.description
    assert isinstance(tick(first.cursor), dg.SkipReason)
    monkeypatch.setattr(stage, "PROBE_SECONDS", 0.0)
    last = tick(first.cursor)
    assert [event.passed for event in last.asset_events] == [True]
    assert isinstance(tick(last.cursor), dg.SkipReason)
    assert has_space(catalog, retention)


def test_empty_days_go_but_none_with_work_a_run_or_too_young(
    catalog: CatalogResource, instance: dg.DagsterInstance
) -> None:
    submit_one(catalog.engine)  # of 2026-11-23
    keys = ["demo/2026-11-23", "demo/2026-01-01", "demo/2026-01-02", "stranger/2026-01-01", "odd"]
    instance.add_dynamic_partitions("content_days", keys)
    run = instance.add_run(
        dg.DagsterRun(
            job_name="generate_images_job",
            run_id=str(uuid4()),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": "demo/2026-01-02"},
        )
    )
    now = datetime(2026, 11, 25, tzinfo=UTC)
    found = find_leftovers(instance, catalog.engine, TENANTS, now=now)
    assert found.days == ["demo/2026-01-01"]
    young = find_leftovers(instance, catalog.engine, TENANTS, now=datetime(2026, 3, 1, tzinfo=UTC))
    assert young.days == []
    instance.report_run_failed(run)
    both = find_leftovers(instance, catalog.engine, TENANTS, now=now)
    assert both.days == ["demo/2026-01-01", "demo/2026-01-02"]
    instance.add_run(
        dg.DagsterRun(
            job_name="generate_images_job",
            run_id=str(uuid4()),
            status=dg.DagsterRunStatus.STARTING,
            tags={"dagster/partition": "demo/2026-01-02"},
        )
    )
    assert delete_leftovers(instance, both).days == ["demo/2026-01-01"]
    assert set(instance.get_dynamic_partitions("content_days")) == set(keys) - {"demo/2026-01-01"}


def test_old_runs_go_but_not_those_of_a_last_materialization(
    catalog: CatalogResource, instance: dg.DagsterInstance
) -> None:
    days = dg.DynamicPartitionsDefinition(name="content_days")

    @dg.asset
    def plain() -> None:
        """Hold nothing."""

    @dg.asset(partitions_def=days)
    def daily() -> None:
        """Hold nothing."""

    instance.add_dynamic_partitions("content_days", ["demo/2026-11-23", "demo/2026-11-24"])

    def run(asset: Any, day: str | None = None) -> str:
        return dg.materialize([asset], partition_key=day, instance=instance).run_id

    gone = [run(plain), run(daily, "demo/2026-11-23")]
    kept = [run(plain), run(daily, "demo/2026-11-23"), run(daily, "demo/2026-11-24")]
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert find_leftovers(instance, catalog.engine, {}, now=soon).run_ids == []
    found = find_leftovers(instance, catalog.engine, {}, now=soon + timedelta(days=30))
    assert set(found.run_ids) == set(gone)
    assert found.num_kept == len(kept)
    delete_leftovers(instance, found)
    assert {record.run_id for record in instance.get_runs()} == set(kept)
    assert instance.get_latest_materialization_event(dg.AssetKey("daily")) is not None
    for run_id in gone:
        events = instance.get_records_for_run(
            run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION
        )
        assert events.records == []
