"""What the server that was backed up had in its configuration does a restore no harm."""

from datetime import datetime
from pathlib import Path

import pytest

from influencerai_dagster.backup.restore.recovery import Recovery, choose_backup
from influencerai_dagster.backup.restore.recovery_settings import remove_recovery, write_recovery
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.backed_up import BackedUp, execute

_COUNT = "SELECT count(*) FROM loras"


def copied(
    system: BackedUp, staging: Path, target_time: datetime | None, *settings: str
) -> Recovery:
    """Copy a backup of a server that had these settings too."""
    recovery = choose_backup(system.barman, target_time)
    recovery.copy(staging)
    with (staging / "postgresql.conf").open("a") as file:
        file.writelines(f"{line}\n" for line in settings)
    return recovery


def asked(system: BackedUp, recovery: Recovery, staging: Path, sql: str) -> str:
    with recovery.opened(staging) as server:
        return execute(server.url_of(system.database_url), sql)


@pytest.mark.parametrize(
    "setting",
    [
        "session_preload_libraries = 'of_the_old_machine'",
        "unix_socket_group = 'of_the_old_machine'",
        "default_transaction_read_only = on",
        "statement_timeout = '1ms'",
    ],
)
def test_a_restored_server_can_be_written_whatever_the_old_one_had(
    backed_up: BackedUp, scratch: Path, setting: str
) -> None:
    staging = scratch / "staging"
    recovery = copied(backed_up, staging, None, setting)
    write = "SELECT pg_sleep(0.01); CREATE TABLE written (); SELECT 'done'"
    assert asked(backed_up, recovery, staging, write) == "done"


def test_no_commit_waits_for_the_standbys_of_the_old_server(
    backed_up: BackedUp, scratch: Path
) -> None:
    staging = scratch / "staging"
    recovery = copied(backed_up, staging, None, "synchronous_standby_names = '*'")
    assert asked(backed_up, recovery, staging, "SHOW synchronous_standby_names") == ""


@pytest.mark.parametrize("is_latest", [True, False], ids=["latest", "target_time"])
@pytest.mark.parametrize(
    "left_over", ["recovery_target = 'immediate'", "recovery_target_time = '2020-01-01'"]
)
def test_the_target_of_a_former_recovery_by_hand_is_not_that_of_a_restore(
    backed_up: BackedUp, scratch: Path, left_over: str, *, is_latest: bool
) -> None:
    staging, target_time = scratch / "staging", None if is_latest else backed_up.before_drop
    recovery = copied(backed_up, staging, target_time, left_over)
    assert asked(backed_up, recovery, staging, _COUNT) == ("9" if is_latest else "7")


def test_wal_that_is_missing_is_named_also_where_the_old_server_logged_little(
    backed_up: BackedUp, scratch: Path
) -> None:
    staging = scratch / "staging"
    recovery = copied(backed_up, staging, None, "log_min_messages = fatal")
    *_, missing, _ = sorted((staging / "restored_wal").glob("00000001*"))
    missing.unlink()
    with pytest.raises(PermanentError, match="is missing or damaged"):
        asked(backed_up, recovery, staging, _COUNT)


def test_the_file_of_the_old_servers_process_id_stays(backed_up: BackedUp, scratch: Path) -> None:
    staging, pid_file = scratch / "staging", scratch / "old" / "main.pid"
    pid_file.parent.mkdir()
    pid_file.parent.chmod(0o777)
    pid_file.write_text("1\n")
    recovery = copied(backed_up, staging, None, f"external_pid_file = '{pid_file}'")
    asked(backed_up, recovery, staging, _COUNT)
    assert pid_file.read_text() == "1\n"


def test_a_backup_without_a_configuration_file_is_restored_as_debian_has_it_elsewhere(
    backed_up: BackedUp, scratch: Path
) -> None:
    staging = scratch / "staging"
    recovery = copied(backed_up, staging, None)
    (staging / "postgresql.conf").unlink()
    assert asked(backed_up, recovery, staging, _COUNT) == "9"
    assert not (staging / "postgresql.conf").exists()


@pytest.mark.parametrize(
    "data",
    [None, b"work_mem = '8MB'", b"cluster_name = 'M\xfcnchen'\n"],
    ids=["no file", "no line end", "latin-1"],
)
def test_settings_that_alter_system_wrote_come_back_as_they_were(
    tmp_path: Path, data: bytes | None
) -> None:
    config = tmp_path / "postgresql.auto.conf"
    if data is not None:
        config.write_bytes(data)
    write_recovery(tmp_path, "wal", 1, None)
    assert b"restore_command = 'cp wal/%f %p'" in config.read_bytes().splitlines()
    remove_recovery(tmp_path)
    assert config.read_bytes().strip() == (data or b"").strip()


def test_settings_are_whole_when_they_could_not_be_rewritten(tmp_path: Path) -> None:
    config = tmp_path / "postgresql.auto.conf"
    config.write_bytes(b"work_mem = '8MB'\nrestore_command = 'cp wal/%f %p'\n")
    config.chmod(0o640)
    config.with_name("postgresql.auto.conf.tmp").mkdir()  # nothing can be written there
    before = config.read_bytes()
    with pytest.raises(IsADirectoryError):
        remove_recovery(tmp_path)
    assert config.read_bytes() == before
    config.with_name("postgresql.auto.conf.tmp").rmdir()
    remove_recovery(tmp_path)
    assert config.read_bytes() == b"work_mem = '8MB'\n"
    assert config.stat().st_mode & 0o777 == 0o640
