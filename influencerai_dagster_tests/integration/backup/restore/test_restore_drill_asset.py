"""The asset `restore_drill` shows what a drill found, and its check is red for a broken backup."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import dagster as dg
import pytest

from influencerai_dagster.definitions import defs
from influencerai_dagster.orchestration.backups.restore_drills import CHECK, restore_drill
from influencerai_dagster.orchestration.resources.backups import RestoreDrillSetup
from influencerai_dagster.settings import settings_from
from influencerai_dagster_tests.testing.backed_up import BackedUp


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def resource_of(
    system: BackedUp, mode: Literal["barman", "pg_dump"] = "barman", home: Path | None = None
) -> RestoreDrillSetup:
    location = system.location
    variables = {
        "BACKUP_DATABASE_MODE": mode,
        "BACKUP_HOME": home or system.barman.home,
        "DATABASE_URL": system.database_url,
        "DAGSTER_DATABASE_URL": system.dagster_url,
        "BACKUP_DATABASE_URL": system.postgres.url(),
        "BACKUP_POSTGRES_BIN_DIR": system.barman.postgres_bin_dir,
        "BACKUP_TARGET": str(system.target.location),
        "S3_ENDPOINT": location.endpoint_url,
        "S3_KEY": location.access_key,
        "S3_SECRET": location.secret_key,
        "S3_BUCKET": location.name,
    }
    return RestoreDrillSetup(settings_from(variables))


def drilled(
    system: BackedUp, instance: dg.DagsterInstance
) -> tuple[dg.AssetMaterialization, dg.AssetCheckEvaluation]:
    config = {"ops": {"restore_drill": {"config": {"target_time": system.newest.isoformat()}}}}
    result = dg.materialize(
        [restore_drill],
        instance=instance,
        resources={"restore_drills": resource_of(system)},
        run_config=config,
    )
    (check,) = result.get_asset_check_evaluations()
    (materialization,) = result.asset_materializations_for_node("restore_drill")
    return materialization, check


def test_figures_and_their_history_are_metadata_and_the_check_is_green(
    backed_up: BackedUp, scratch: Path, instance: dg.DagsterInstance
) -> None:
    system = backed_up.copied(scratch / "copy")
    materialization, check = drilled(system, instance)
    shown = {name: value.value for name, value in materialization.metadata.items()}
    assert (check.check_name, check.passed) == (CHECK, True)
    assert shown["objects"] == len(backed_up.keys)
    assert isinstance(shown["rto_seconds"], float)
    assert isinstance(shown["rpo_seconds"], float)
    assert str(shown["history"]).startswith("![RTO and RPO of all drills](data:image/png;base64,")


def test_a_broken_backup_makes_the_check_red_and_is_named(
    backed_up: BackedUp, scratch: Path, instance: dg.DagsterInstance
) -> None:
    system = backed_up.copied(scratch / "copy")
    key = "loras/demo/lora1.safetensors"
    (Path(str(system.target.location)) / "objects" / key).unlink()
    materialization, check = drilled(system, instance)
    assert not check.passed
    assert "rto_seconds" not in materialization.metadata  # Dagster would draw it as a good one
    assert "broken in step 'verify objects'" in str(materialization.metadata["rto"].value)
    assert key in (check.description or "")
    assert check.metadata["broken"].value == [f"object {key} of loras is missing"]


def test_it_is_scheduled_every_week() -> None:
    schedule = defs.resolve_schedule_def("restore_drill_schedule")
    assert schedule.cron_schedule == "0 4 * * 0"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.execution_timezone == "UTC"
