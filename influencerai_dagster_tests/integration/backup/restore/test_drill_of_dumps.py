"""The drill of dumps alone: the newest is loaded into a new PostgreSQL; a broken one is named."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from influencerai_dagster.backup.restore.drill import Drill, DrillReport, drill_history, run_drill
from influencerai_dagster.orchestration.backups.restore_drills import restore_drill
from influencerai_dagster_tests.integration.backup.restore.test_drill import flipped, rewritten
from influencerai_dagster_tests.integration.backup.restore.test_restore_drill_asset import (
    resource_of,
)
from influencerai_dagster_tests.testing.dumped import Dumped


def drilled(dumped: Dumped, scratch: Path) -> DrillReport:
    system = dumped.system
    drill = Drill(dumped.dumps, system.databases, system.target, scratch / "drills")
    return run_drill(drill, print, None)


@pytest.fixture
def copy(dumped: Dumped, scratch: Path) -> Dumped:
    return dumped.copied(scratch / "copy")


def test_the_newest_dump_is_loaded_counted_and_removed(copy: Dumped, scratch: Path) -> None:
    report = drilled(copy, scratch)
    newest = copy.dumps.list_backups()[-1]
    assert report.problems == ()
    assert (report.backup_id, report.target_time) == (newest.backup_id, newest.begin)
    assert report.rows["loras"] == 9
    assert report.rows["dagster.runs"] == 0
    assert report.num_objects == len(copy.system.keys)
    assert report.rpo_seconds is not None
    assert newest.begin is not None
    assert report.rpo_seconds == (report.at - newest.begin).total_seconds()
    assert set(report.seconds_by_step) == {
        *("check backup", "make data directory", "load dumps"),
        *("verify database", "copy objects", "verify objects"),
    }
    assert list((scratch / "drills").iterdir()) == []
    assert drill_history(copy.dumps.home) == [report]


def without(path: Path, _: Callable[[bytes], bytes]) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "change", "words"),
    [
        (rewritten, lambda data: data[:-100], "was changed"),
        (rewritten, flipped, "was changed"),
        (without, flipped, "is missing"),
    ],
    ids=["truncated", "flipped byte", "missing"],
)
def test_a_broken_dump_is_named(
    copy: Dumped,
    scratch: Path,
    damage: Callable[[Path, Callable[[bytes], bytes]], None],
    change: Callable[[bytes], bytes],
    words: str,
) -> None:
    backup_id = copy.dumps.list_backups()[-1].backup_id
    damage(copy.dumps.folder / backup_id / "influencerai.dump", change)
    assert drilled(copy, scratch).problems == (
        f"Backup {backup_id} is broken: influencerai.dump {words}",
    )


def test_a_missing_object_is_named(copy: Dumped, scratch: Path) -> None:
    key = "loras/demo/lora2.safetensors"
    (Path(str(copy.system.target.location)) / "objects" / key).unlink()
    assert drilled(copy, scratch).problems == (f"object {key} of loras is missing",)


def test_no_dump_at_all_is_a_broken_backup(copy: Dumped, scratch: Path) -> None:
    copy.dumps.folder.rename(scratch / "elsewhere")
    (problem,) = drilled(copy, scratch).problems
    assert "There is no complete dump in" in problem


def test_the_asset_drills_dumps_too(copy: Dumped) -> None:
    resource = resource_of(copy.system, mode="pg_dump", home=copy.dumps.home)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [restore_drill], instance=instance, resources={"restore_drills": resource}
        )
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    (materialization,) = result.asset_materializations_for_node("restore_drill")
    newest = copy.dumps.list_backups()[-1]
    assert materialization.metadata["backup_id"].value == newest.backup_id
