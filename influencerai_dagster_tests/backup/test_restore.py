"""PostgreSQL and objects come back to one instant."""

from pathlib import Path

from influencerai_dagster.backup.restore import run_restore
from influencerai_dagster.backup.restored_server import RestoredServer
from influencerai_dagster.local.postgres import programs_dir
from influencerai_dagster_tests.backup.backed_up import BackedUp, execute


def test_a_table_that_was_dropped_is_back(backed_up: BackedUp, scratch: Path) -> None:
    into = scratch / "restored"
    report = run_restore(backed_up.restore(into, backed_up.before_drop), print)
    assert report.verification.problems == []
    with RestoredServer(into, programs_dir()) as server:
        url = server.url_of(backed_up.database_url)
        assert execute(url, "SELECT answer FROM precious") == "42"
        assert execute(url, "SELECT count(*) FROM loras") == "7"
