"""What rclone tells, also lines of its log that no local server brings about."""

from datetime import timedelta
from pathlib import Path

import pytest

from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.objects.rclone_log import Comparison, CopyResult, comparison, note
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore


def noted(**event: str | int) -> CopyResult:
    result = CopyResult()
    note(result, event, lambda _: None)
    return result


def test_a_key_that_rclone_takes_for_another_is_a_failure() -> None:
    message = "Duplicate object found in source - ignoring"
    result = noted(level="notice", msg=message, object="a//b", objectType="*s3.Object")
    assert result.failures == {"a//b": message}


@pytest.mark.parametrize(
    ("key", "object_type"),
    [("main/wals", "string"), ("S3 bucket assets", "*s3.Fs"), ("Local file system", "*local.Fs")],
)
def test_an_error_of_a_folder_is_no_failure_of_an_object(key: str, object_type: str) -> None:
    result = noted(level="error", msg="denied", object=key, objectType=object_type)
    assert (result.failures, result.problems) == ({}, ["denied"])


@pytest.mark.parametrize("object_type", ["*s3.Object", "*crypt.Object", "*crypt.ObjectSummary"])
def test_an_error_of_an_object_names_it(object_type: str) -> None:
    result = noted(level="error", msg="denied", object="a.png", objectType=object_type)
    assert (result.failures, result.problems) == ({"a.png": "denied"}, [])


def test_marks_and_sizes_of_a_report_may_come_in_any_order() -> None:
    report = ["7;= a;b.png\n", "+ c d.png\n", "- e.png\n", "3;c d.png\n", "= = a;b.png\n"]
    report += ["* f.png\n", "-1;f.png\n", "9;e.png\n", "! c d.png\n", "3;c d.png\n"]
    assert comparison(report) == Comparison(
        at_source={"= a;b.png": 7, "c d.png": 3, "f.png": -1},
        only_at_source=frozenset({"c d.png"}),
        differing=frozenset({"f.png"}),
        only_at_target=frozenset({"e.png"}),
    )


def test_a_report_that_was_cut_off_is_not_believed() -> None:
    with pytest.raises(TransientError, match=r"'- images/a', within a key: make space"):
        comparison(["= images/abc.png\n", "5;images/abc.png\n", "- images/a"])


def test_an_object_that_is_copied_in_parts_is_counted(
    source: Bucket, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.put_latest("loras/demo/large.safetensors", bytes(3 * 1024**2))
    result = Rclone(source, BackupTarget(tmp_path)).copy(
        "source:", "target:objects", "--multi-thread-cutoff=1M", on_progress=lambda _: None
    )
    assert result.copied == result.found.at_source
    assert result.copied == {"loras/demo/large.safetensors": 3 * 1024**2}


def test_a_copy_that_was_killed_after_a_failure_is_no_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = '{"level": "error", "msg": "denied", "object": "a.png", "objectType": "*s3.Object"}'
    program = tmp_path / "rclone"
    program.write_text(f"#!/bin/sh\necho '{line}' >&2\nprintf '+ b.p'\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(
        "influencerai_dagster.backup.objects.rclone.rclone_program", lambda: program
    )
    rclone = Rclone(tmp_path, BackupTarget(tmp_path))
    with pytest.raises(TransientError, match=r"exit code -9"):
        rclone.copy("source:", "target:", on_progress=lambda _: None)


def test_a_limit_that_rclone_cannot_read_is_named_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    target = BackupTarget(tmp_path / "backup", bandwidth_limit="fast")
    with pytest.raises(PermanentError, match=r"^BACKUP_BANDWIDTH_LIMIT .* write 10M"):
        copy_objects(tmp_path / "home", target, recovery_window=timedelta(days=1))
