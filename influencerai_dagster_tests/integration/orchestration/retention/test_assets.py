"""Assets of retention as a run makes them: a report first, then what it named."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterEventType
from sqlalchemy import text

from influencerai_dagster.core.keys import DayKey, today
from influencerai_dagster.core.object_paths import day_manifest_key
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.response_cache import ResponseCache
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.orchestration.resources.retention import Retention
from influencerai_dagster.orchestration.retention.assets import apply_retention
from influencerai_dagster.orchestration.retention.dagster_pruning import (
    delete_leftovers,
    find_leftovers,
)
from influencerai_dagster.retention.rules import TenantRetention
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_one,
    complete_job,
    image_request,
    submit_one,
)

TENANTS = {"demo": TenantRetention(90)}
Run = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def run(
    catalog: Catalog,
    object_store: ObjectStore,
    retention: Retention,
    postgres_instance: dg.DagsterInstance,
) -> Run:
    """Materialize both assets; return the metadata of each."""

    def materialize(**config: bool) -> dict[str, dict[str, Any]]:
        result = dg.materialize(
            [apply_retention],
            instance=postgres_instance,
            resources={
                "catalog": catalog,
                "object_store": object_store,
                "retention": retention,
            },
            run_config={"ops": {"apply_retention": {"config": config}}},
        )
        return {
            event.materialization.asset_key.to_user_string(): {
                key: item.value for key, item in event.materialization.metadata.items()
            }
            for event in result.get_asset_materialization_events()
        }

    return materialize


def records(found: dict[str, Any]) -> dict[str, int]:
    """Rows that are not objects, by kind."""
    shown = found.get("deleted_records") or found["records_to_delete"]
    rows = [] if shown == "none" else [record.data for record in shown.records]
    return {row["what"]: row["number"] for row in rows}


def test_retention_reports_first_and_deletes_only_when_it_is_no_dry_run(
    catalog: Catalog, object_store: ObjectStore, run: Run
) -> None:
    submit_one(catalog.engine, image_request())
    asset = complete_job(catalog.engine, claim_one(catalog.engine))
    object_store.put_latest(asset.object_key, b"png")
    with transaction(catalog.engine) as session:
        session.execute(text("UPDATE media_assets SET created_at = now() - interval '100 days'"))
    dry = run()
    assert dry["retention_report"]["num_delete"] == 1
    assert "recovery window: 1 (3 bytes)" in dry["retention_report"]["in_short"]
    assert asset.object_key in str(dry["retention_report"]["to_delete"])
    assert dry["retention_deletions"]["is_dry_run"] is True
    assert "RETENTION_DRY_RUN=false" in dry["retention_deletions"]["why"]
    wet = run(dry_run=False)["retention_deletions"]
    assert (wet["num_deleted"], wet["num_removed"]) == (1, 0)
    assert object_store.head(asset.object_key)


def test_an_empty_day_goes_with_its_lists_and_a_second_run_finds_nothing_more(
    catalog: Catalog,
    object_store: ObjectStore,
    run: Run,
    postgres_instance: dg.DagsterInstance,
) -> None:
    gone, kept = DayKey("demo", date(2026, 1, 1)), DayKey("demo", today())
    lists = [
        day_manifest_key(kind, day, "0123456789abcdef")
        for kind, day in (("images", gone), ("videos", gone), ("images", kept))
    ]
    for key in lists:
        object_store.put_latest(key, b"{}")
    postgres_instance.add_dynamic_partitions("content_days", [str(gone), str(kept)])
    report = run()["retention_report"]
    assert (report["num_delete"], records(report)) == (2, {"days' partitions": 1})
    assert "list of a day whose partition is gone" in str(report["to_delete"])
    assert "no object, no open job and no run" in str(report["days_to_remove"])
    done = run(dry_run=False)["retention_deletions"]
    assert (done["num_deleted"], records(done)) == (2, {"days' partitions": 1})
    assert postgres_instance.get_dynamic_partitions("content_days") == [str(kept)]
    again = run(dry_run=False)
    assert records(again["retention_report"]) == records(again["retention_deletions"]) == {}
    assert (again["retention_report"]["num_delete"], again["retention_report"]["num_wait"]) == (
        0,
        2,
    )
    with transaction(catalog.engine) as session:
        session.execute(text("UPDATE object_deletions SET marked_at = now() - interval '32 days'"))
    assert run(dry_run=False)["retention_deletions"]["num_removed"] == 2
    assert [key for key in lists if object_store.head(key)] == lists[2:]


def test_what_is_no_image_is_named_with_the_reason_and_goes_once(
    catalog: Catalog,
    object_store: ObjectStore,
    run: Run,
    postgres_instance: dg.DagsterInstance,
    retention: Retention,
) -> None:
    mtime = {"mtime": str(time.time() - 2 * 86400)}  # a habit of `rclone serve s3`
    object_store.client.put_object(
        Bucket=object_store.bucket, Key="doctor/old", Body=b"", Metadata=mtime
    )
    ResponseCache(catalog.engine, "demo", timedelta(days=1)).put("a" * 64, "a woman")
    with transaction(catalog.engine) as session:
        session.execute(text("UPDATE llm_responses SET expires_at = now() - interval '1 second'"))
    key = dg.AssetKey("observed")
    for _ in range(3):
        postgres_instance.report_runless_asset_event(dg.AssetObservation(key))
    with transaction(retention.dagster_engine) as session:
        change = "UPDATE event_logs SET timestamp = timestamp - interval '31 days'"
        session.execute(text(f"{change} WHERE run_id = ''"))
    report = run()["retention_report"]
    (left_behind,) = report["left_behind"].records
    assert (left_behind.data["what"], left_behind.data["key"]) == ("scratch object", "doctor/old")
    assert "more than a day ago" in str(left_behind.data["why"])
    expected = {"cached responses of language models": 1, "events without a run": 2}
    assert records(report) == expected
    assert len(postgres_instance.fetch_observations(key, limit=9).records) == 3
    done = run(dry_run=False)["retention_deletions"]
    assert (records(done), done["num_removed"]) == (expected, 1)
    assert len(postgres_instance.fetch_observations(key, limit=9).records) == 1
    again = run(dry_run=False)["retention_report"]
    assert (records(again), again["left_behind"]) == ({}, "none")


def test_empty_days_go_but_none_with_work_a_run_or_too_young(
    catalog: Catalog, instance: dg.DagsterInstance
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
    catalog: Catalog, instance: dg.DagsterInstance
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


def test_a_run_of_a_partition_that_is_gone_goes_too(
    catalog: Catalog, instance: dg.DagsterInstance
) -> None:
    days = dg.DynamicPartitionsDefinition(name="content_days")

    @dg.asset(partitions_def=days)
    def daily() -> None:
        """Hold nothing."""

    instance.add_dynamic_partitions("content_days", ["demo/2026-11-23"])
    run_id = dg.materialize([daily], partition_key="demo/2026-11-23", instance=instance).run_id
    later = datetime.now(UTC) + timedelta(days=31)
    assert find_leftovers(instance, catalog.engine, {}, now=later).run_ids == []
    instance.delete_dynamic_partition("content_days", "demo/2026-11-23")
    assert find_leftovers(instance, catalog.engine, {}, now=later).run_ids == [run_id]
