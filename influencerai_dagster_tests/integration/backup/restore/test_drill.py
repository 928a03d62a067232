"""The drill proves a whole backup, and names what is broken in each kind of broken one."""

import gzip
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from influencerai_dagster.backup.restore.drill import Drill, DrillReport, drill_history, run_drill
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster_tests.testing.backed_up import BackedUp


def drill_of(system: BackedUp, scratch: Path) -> Drill:
    return Drill(
        backups=system.barman,
        databases=system.databases,
        target=system.target,
        scratch_dir=scratch / "drills",
    )


def drilled(system: BackedUp, scratch: Path) -> DrillReport:
    return run_drill(drill_of(system, scratch), print, system.newest)


def test_a_random_moment_of_a_whole_backup_is_restored_counted_and_removed(
    backed_up: BackedUp, scratch: Path
) -> None:
    system = backed_up.copied(scratch / "copy")
    report = run_drill(drill_of(system, scratch), print, None)
    assert report.problems == ()
    assert report.target_time is not None
    assert report.target_time < report.at
    assert report.rows["loras"] in {5, 6, 7, 8, 9}
    assert report.num_objects == 3 + 2 * report.rows["loras"]
    assert report.size_bytes > 0
    assert report.rpo_seconds is not None
    assert (report.rto_seconds or 0) >= sum(report.seconds_by_step.values())
    assert set(report.seconds_by_step) == {
        *("check backup", "copy database", "replay WAL"),
        *("verify database", "copy objects", "verify objects"),
    }
    assert list((scratch / "drills").iterdir()) == []


@pytest.mark.parametrize("words", ["restoring", "copying all objects"])
def test_what_a_killed_drill_left_is_removed_by_the_next(
    backed_up: BackedUp, scratch: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    sockets = scratch / "tmp"
    sockets.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    system = backed_up.copied(scratch / "copy")
    child = os.fork()
    if child == 0:  # a process of its own, that dies as `kill -9` ends it

        def log(line: str) -> None:
            if line.startswith(words):
                os.kill(os.getpid(), signal.SIGKILL)

        run_drill(drill_of(system, scratch), log, system.newest)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    (left,) = (scratch / "drills").iterdir()
    assert drilled(system, scratch).problems == ()
    assert list((scratch / "drills").iterdir()) == []
    assert list(sockets.iterdir()) == []
    assert processes_of(left) == []


def test_a_drill_that_runs_is_not_disturbed_by_another(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    second: list[DrillReport] = []

    def log(line: str) -> None:
        if line.startswith("copying all objects"):
            second.append(drilled(system, scratch))

    assert run_drill(drill_of(system, scratch), log, system.newest).problems == ()
    assert [report.problems for report in second] == [()]


def processes_of(folder: Path) -> list[str]:
    return [
        " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
    ]


def test_the_rto_ends_with_the_last_object_and_not_with_the_tidying(
    backed_up: BackedUp, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[float] = []
    stop = RestoredServer.stop

    def noted_stop(server: RestoredServer) -> None:
        stopped.append(time.monotonic())
        stop(server)

    monkeypatch.setattr(RestoredServer, "stop", noted_stop)
    system = backed_up.copied(scratch / "copy")
    began = time.monotonic()
    report = drilled(system, scratch)
    assert report.rto_seconds is not None
    assert report.rto_seconds < stopped[-1] - began
    assert report.shown_rto == f"{report.rto_seconds:.1f} s"


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace a file: its content is shared with the valid backup as a hard link."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(change(data))


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def largest_base_file(system: BackedUp) -> Path:
    backups = system.barman.list_backups()
    base = system.barman.folder / "base" / backups[0].backup_id / "data" / "base"
    return max(base.rglob("*"), key=lambda path: path.stat().st_size)


def middle_segment(system: BackedUp) -> Path:
    """The segment after the one in which the incremental backup ends."""
    end_wal = system.barman.list_backups()[-1].end_wal or ""
    return min(path for path in system.barman.folder.glob("wals/*/*") if path.name > end_wal)


def test_a_truncated_file_of_the_base_is_named(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    path = largest_base_file(system)
    rewritten(path, lambda data: data[:-8192])
    report = drilled(system, scratch)
    (problem,) = report.problems
    assert f"/{path.name} has " in problem
    assert report.rto_seconds is None
    assert report.shown_rto.startswith("none: broken in step 'check backup' after ")


def test_a_flipped_byte_of_the_base_is_named(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    path = largest_base_file(system)
    rewritten(path, flipped)
    (problem,) = drilled(system, scratch).problems
    assert f"/{path.name} was changed" in problem


def test_a_missing_wal_segment_is_named(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    segment = middle_segment(system)
    segment.unlink()
    (problem,) = drilled(system, scratch).problems
    assert "WAL segments are missing" in problem
    assert segment.name in problem


def repacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change what is in a gzip file and keep its checksum right."""
    return lambda data: gzip.compress(change(gzip.decompress(data)))


@pytest.mark.parametrize(
    "change",
    [
        # Early: of the zeros at the end, some bytes may change and unpack to zeros again.
        lambda data: data[:1000] + bytes([data[1000] ^ 0xFF]) + data[1001:],
        lambda data: data[:-100],
        repacked(lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:]),
    ],
    ids=["flipped byte", "truncated", "flipped byte before it was compressed"],
)
def test_a_damaged_wal_segment_is_named(
    backed_up: BackedUp, scratch: Path, change: Callable[[bytes], bytes]
) -> None:
    system = backed_up.copied(scratch / "copy")
    segment = middle_segment(system)
    rewritten(segment, change)
    (problem,) = drilled(system, scratch).problems
    assert segment.name in problem


def test_a_missing_object_is_named(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    key = "loras/demo/lora2.safetensors"
    (Path(str(system.target.location)) / "objects" / key).unlink()
    report = drilled(system, scratch)
    assert report.problems == (f"object {key} of loras is missing",)
    assert report.rto_seconds is None
    assert report.shown_rto.startswith("none: broken in step 'verify objects' after ")


def test_a_flipped_byte_of_an_object_is_named(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    key = "loras/demo/lora2.safetensors"
    rewritten(Path(str(system.target.location)) / "objects" / key, flipped)
    (problem,) = drilled(system, scratch).problems
    assert problem.startswith(f"object {key} of loras has SHA-256")


def test_a_replaced_upload_is_a_warning_only(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    key = next(key for key in backed_up.keys if key.endswith("img0.jpg"))
    rewritten(Path(str(system.target.location)) / "objects" / key, lambda _: b"another photo")
    report = drilled(system, scratch)
    assert report.problems == ()
    assert report.warnings == (f"upload {key} was replaced after its dataset's scan",)


def test_no_backup_at_all_is_a_broken_one(backed_up: BackedUp, scratch: Path) -> None:
    system = backed_up.copied(scratch / "copy")
    shutil.rmtree(system.barman.folder / "meta")
    report = run_drill(drill_of(system, scratch), print, None)
    (problem,) = report.problems
    assert "There is no complete backup" in problem
    assert report.shown_rto == "none: nothing could be restored"


def test_every_drill_is_remembered_and_a_torn_line_forgets_no_other(
    backed_up: BackedUp, scratch: Path
) -> None:
    system = backed_up.copied(scratch / "copy")
    shutil.rmtree(system.barman.folder / "meta")
    drill = drill_of(system, scratch)
    first = run_drill(drill, print, None)
    with (system.barman.home / "restore-drills.jsonl").open("a") as file:
        file.write('{"at": "2026-\n')
    second = run_drill(drill, print, None)
    assert drill_history(system.barman.home) == [first, second]


@pytest.fixture(autouse=True)
def clean_history(backed_up: BackedUp) -> None:
    """Each copy begins without drills."""
    (backed_up.barman.home / "restore-drills.jsonl").unlink(missing_ok=True)
