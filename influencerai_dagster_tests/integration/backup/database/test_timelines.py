"""Restores begin new timelines: WAL is received on, and each target time is found on its own."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.timelines import (
    read_timelines,
    refuse_left_timeline,
    timeline_at,
)
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.backed_up import LINK, remove
from influencerai_dagster_tests.testing.servers import running
from influencerai_dagster_tests.testing.timeline_story import Story, made_story, revision_before

# The first test waits for the whole story: four starts of a server, three backups, four restores.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def story(servers_dir: Path) -> Iterator[Story]:
    folder = servers_dir / "timelines"
    yield made_story(folder)
    remove(folder)  # half a gigabyte


def copied(story: Story, folder: Path) -> BarmanServer:
    """The same backups under other names, to be removed."""
    barman = replace(story.barman, home=folder / "home")
    subprocess.run([*LINK, str(story.barman.home), str(barman.home)], check=True)
    return barman


def test_after_a_restore_in_place_the_receiver_resumes_elsewhere_and_says_why(story: Story) -> None:
    resumed = [line for line in story.said if "Receiving resumes" in line]
    assert "the server does not have 00000001" in resumed[0]
    assert "Receiving resumes with 00000002" in resumed[0]
    assert "Receiving resumes with 00000003" in resumed[1]
    assert len(resumed) == 2


def test_a_target_time_after_a_restore_comes_back_also_before_there_is_a_new_backup(
    story: Story,
) -> None:
    assert story.found["after"] == "made1 made5"


def test_a_backup_that_was_taken_after_the_target_time_of_a_restore_is_not_used_on_its_timeline(
    story: Story,
) -> None:
    assert story.backups["left"].end is not None
    assert story.backups["left"].end < story.target_times["after"]
    assert story.backups["after"].backup_id < story.backups["left"].backup_id


def test_what_a_restore_undid_comes_back_from_the_timeline_that_it_left(story: Story) -> None:
    assert story.found["accident"] == "made1 made2 made3"
    assert story.backups["accident"] == story.backups["left"]


def test_the_newest_moment_is_that_of_the_newest_timeline(story: Story) -> None:
    assert story.found["latest"] == "made1 made2 made3 made8"


def test_a_switch_of_timelines_is_no_gap(story: Story) -> None:
    barman = story.barman
    assert [barman.missing_wal(item.begin_wal or "") for item in barman.list_backups()] == [[]] * 3
    for target_time in (*story.target_times.values(), None):
        assert not any("missing" in line for line in choose_backup(barman, target_time).warnings())


def test_of_two_restores_of_one_timeline_the_one_moved_aside_is_not_backed_up(
    story: Story, tmp_path: Path
) -> None:
    _, second = sorted(story.folder.glob("data.replaced-*"))
    server = replace(story.postgres, data_dir=second)
    with (
        running(server.service(os.environ), tmp_path),
        pytest.raises(PermanentError, match="on timeline 2, which a restore has replaced"),
    ):
        refuse_left_timeline(server.url(), story.barman.folder)
    assert [number for number, _ in timeline_at(story.barman.folder, None).past] == [1]


def test_a_plan_says_that_the_target_time_is_on_a_timeline_that_was_left(story: Story) -> None:
    (warning,) = choose_backup(story.barman, story.target_times["accident"]).warnings()
    assert "is on timeline 1, which a later restore has left" in warning
    assert choose_backup(story.barman, None).warnings() == []


def test_a_gap_of_a_timeline_is_named_where_the_one_that_was_left_has_such_a_segment(
    story: Story, scratch: Path
) -> None:
    barman = copied(story, scratch)
    _, removed, *_ = sorted(barman.folder.glob("wals/00000002*/*"))
    left = removed.name.replace("00000002", "00000001", 1)
    assert any(barman.folder.glob(f"wals/*/{left}*"))
    removed.unlink()
    recovery = choose_backup(barman, story.target_times["after"])
    with pytest.raises(PermanentError, match=rf"segments are missing .*: {removed.name}\."):
        recovery.check(is_all_needed=True)


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b\x08cut", b"\xff\xfe"], ids=["empty", "cut", "noise"]
)
def test_a_history_of_a_timeline_that_is_damaged_is_named(tmp_path: Path, data: bytes) -> None:
    damaged = tmp_path / "wals" / "00000002.history"
    damaged.parent.mkdir()
    damaged.write_bytes(data)
    with pytest.raises(PermanentError, match=f"{damaged} is damaged"):
        timeline_at(tmp_path, None)


def test_a_target_time_that_no_backup_leads_to_is_refused_with_the_reason(
    story: Story, scratch: Path
) -> None:
    barman = copied(story, scratch)
    for backup in barman.list_backups():
        if backup != story.backups["left"]:
            (barman.folder / "meta" / f"{backup.backup_id}-backup.info").unlink()
    with pytest.raises(PermanentError, match="leads to timeline 2, on which the server was at"):
        choose_backup(barman, story.target_times["after"])


def test_a_catalog_of_an_older_release_is_migrated_and_keeps_its_rows(story: Story) -> None:
    assert story.verification is not None
    assert story.verification.migrated_from == revision_before()
    assert story.verification.rows["tenants"] == 1
    assert story.verification.rows["object_deletions"] == 0  # which the newest migration made


def test_a_catalog_of_a_newer_release_is_refused_with_what_to_do(story: Story) -> None:
    assert "at revision '9999', which this release does not know" in story.newer_release
    assert "Install that, or restore a backup" in story.newer_release


def test_a_timeline_begins_when_the_recovery_before_it_ended(story: Story) -> None:
    """And not when the receiver heard of it, which was down while `after` came."""
    oldest, second, third = read_timelines(story.barman.folder)
    assert oldest.began_at < story.target_times["good"]
    assert story.target_times["accident"] < second.began_at < story.target_times["after"]
    assert story.target_times["after"] < third.began_at


def test_segments_of_another_size_are_counted_as_the_server_does(story: Story) -> None:
    assert {item.segment_bytes for item in story.barman.list_backups()} == {32 * 1024**2}
    timeline = timeline_at(story.barman.folder, None)
    (first, left_at), *_ = timeline.past
    assert first == 1
    assert timeline.segment(left_at // (32 * 1024**2) - 1, 32 * 1024**2).startswith("00000001")
