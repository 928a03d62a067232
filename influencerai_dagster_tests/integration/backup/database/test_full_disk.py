"""A full BACKUP_HOME is named, leaves nothing behind, and all goes on when there is space again."""

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal_receiver import receive_wal
from influencerai_dagster.errors import InsufficientStorageError
from influencerai_dagster_tests.testing.database_server import DatabaseServer
from influencerai_dagster_tests.testing.waiting import wait_until

SMALL, LARGE = "size=56m", "size=400m"
"""Less than a base and two segments of WAL; and enough."""


@dataclass(frozen=True)
class SmallDisk:
    """A disk of its own with a receiver that writes to it."""

    database_server: DatabaseServer
    barman: BarmanServer
    said: list[str]

    def fill(self) -> None:
        ballast = self.barman.home / "ballast"
        done = subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], check=False)
        assert done.returncode != 0

    def make_space(self) -> None:
        (self.barman.home / "ballast").unlink()
        subprocess.run(["mount", "-o", f"remount,{LARGE}", str(self.barman.home)], check=True)

    def let_segments_pass(self) -> None:
        for _ in range(2):
            self.database_server.execute(
                "postgres", "SELECT pg_logical_emit_message(true, 'test', 'a word')"
            )
            self.database_server.execute("postgres", "SELECT pg_switch_wal()")


@pytest.fixture
def small_disk(database_server: DatabaseServer, scratch: Path) -> Iterator[SmallDisk]:
    mount = ["mount", "-t", "tmpfs", "-o", SMALL, "none", str(scratch)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk, and not in every container")
    barman = replace(database_server.barman, home=scratch, slot_name="small_disk")
    disk, stopping = SmallDisk(database_server, barman, []), threading.Event()
    receiver = threading.Thread(
        target=receive_wal,
        args=(barman, stopping),
        kwargs={"log": disk.said.append, "restart_seconds": 0.5},
    )
    receiver.start()
    try:
        yield disk
    finally:
        stopping.set()
        receiver.join()
        subprocess.run(["umount", "--lazy", str(scratch)], check=True)
        slot = "SELECT pid FROM pg_stat_replication WHERE pid = (SELECT active_pid "
        slot += "FROM pg_replication_slots WHERE slot_name = 'small_disk')"
        wait_until(lambda: not database_server.execute("postgres", slot), "the slot is free")
        database_server.execute("postgres", "SELECT pg_drop_replication_slot('small_disk')")


def test_a_full_disk_is_named_and_leaves_nothing_behind_and_goes_on_with_space(
    small_disk: SmallDisk,
) -> None:
    barman = small_disk.barman
    wait_until(lambda: any(barman.folder.glob("streaming/*.partial")), "WAL is received")
    with pytest.raises(InsufficientStorageError, match=r"(?s)No space left.*Make space where"):
        barman.backup(BackupKind.FULL)
    assert barman.list_backups() == []
    assert list(barman.folder.glob("base/*")) == []

    small_disk.fill()
    small_disk.let_segments_pass()
    wait_until(
        lambda: any("is full: 0 MB are free" in line for line in small_disk.said),
        "the full disk is logged",
    )
    with pytest.raises(InsufficientStorageError, match=r"BACKUP_HOME .* is full: 0 MB are free"):
        barman.backup(BackupKind.FULL)

    small_disk.make_space()
    taken = barman.backup(BackupKind.FULL)
    barman.verify(taken.backup_id)
    assert taken.begin_wal is not None
    assert barman.missing_wal(taken.begin_wal) == []
