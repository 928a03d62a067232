"""Asset `object_backup` as a run makes it, and the alert that the object store is full."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.orchestration.backups.object_backups import object_backup
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import pending_jobs_sensor
from influencerai_dagster.orchestration.resources.backups import ObjectBackupSetup
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.orchestration.resources.retention import Retention
from influencerai_dagster.orchestration.retention.checks import object_store_has_space
from influencerai_dagster.orchestration.retention.storage_pause_sensor import storage_pause_sensor
from influencerai_dagster.retention.rules import TenantRetention
from influencerai_dagster.settings import settings_from
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import image_request, submit_one
from influencerai_dagster_tests.testing.servers import S3Server

TENANTS = {"demo": TenantRetention(90)}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    ]
    return {key: item.value for key, item in event.materialization.metadata.items()}


@pytest.fixture
def backups(s3_server: S3Server, object_store: ObjectStore, tmp_path: Path) -> ObjectBackupSetup:
    return ObjectBackupSetup(
        settings_from(
            {
                "S3_ENDPOINT": s3_server.endpoint_url,
                "S3_KEY": s3_server.access_key,
                "S3_SECRET": s3_server.secret_key,
                "S3_BUCKET": object_store.bucket,
                "BACKUP_TARGET": str(tmp_path / "target"),
                "BACKUP_ENCRYPTION_KEY": "key",
                "BACKUP_HOME": str(tmp_path / "home"),
            }
        )
    )


def test_a_backup_shows_what_was_copied_and_copies_barmans_folder_off_site(
    backups: ObjectBackupSetup, object_store: ObjectStore, tmp_path: Path
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


def test_a_backup_that_lacks_an_object_makes_its_check_red_and_names_it(
    backups: ObjectBackupSetup, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.put_latest("loras/demo/a.safetensors", b"weights")
    (tmp_path / "target" / "objects" / "loras/demo/a.safetensors" / "x").mkdir(parents=True)
    (tmp_path / "target" / "objects" / "loras/demo/a.safetensors" / "x" / "y").touch()
    result = dg.materialize([object_backup], resources={"object_backups": backups})
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "loras/demo/a.safetensors" in str(check.metadata["failures"])


@pytest.fixture
def pause(catalog: Catalog, object_store: ObjectStore) -> None:
    with transaction(catalog.engine) as session:
        storage_pauses.report_full(session, object_store.bucket, "no space left")


def has_space(catalog: Catalog, retention: Retention) -> bool:
    result = object_store_has_space(catalog, retention)
    assert isinstance(result, dg.AssetCheckResult)
    return bool(result.passed)


@pytest.mark.usefixtures("pause")
def test_a_full_store_is_an_alert_that_ends_by_itself(
    catalog: Catalog,
    object_store: ObjectStore,
    retention: Retention,
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
            "object_store": object_store,
            "retention": retention,
        }
        with dg.build_sensor_context(cursor=cursor, resources=resources) as context:
            return storage_pause_sensor(context)

    first = tick(None)
    (alert,) = first.asset_events
    assert not alert.passed
    assert "Retention could free 0 bytes now" in alert.description
    assert isinstance(tick(first.cursor), dg.SkipReason)
    with transaction(catalog.engine) as session:
        session.execute(text("UPDATE storage_pauses SET probed_at = now() - interval '1 min'"))
    last = tick(first.cursor)
    assert [event.passed for event in last.asset_events] == [True]
    assert isinstance(tick(last.cursor), dg.SkipReason)
    assert has_space(catalog, retention)
