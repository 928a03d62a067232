"""`influencerai retention` and `backup objects`, and what `jobs watch` says of a full store."""

from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.retention import legal_holds
from influencerai_dagster_tests.testing.catalog_rows import claim_one, complete_job, submit_one
from influencerai_dagster_tests.testing.command_line import CommandLine


@pytest.fixture
def tenant(cli: CommandLine) -> str:
    assert cli("tenant", "add", "demo").exit_code == 0
    return "demo"


def test_the_report_says_what_may_go_and_why_and_deletes_nothing(
    cli: CommandLine, tenant: str
) -> None:
    submit_one(cli.engine)
    asset = complete_job(cli.engine, claim_one(cli.engine, tenant=tenant))
    cli.store.put_latest(asset.object_key, b"png")
    assert cli("retention", "days", "3", "--tenant", tenant).exit_code == 0
    assert "younger than 3 days" in cli("retention", "report")
    with transaction(cli.engine) as session:
        session.execute(text("UPDATE media_assets SET created_at = now() - interval '4 days'"))
    answer = cli("retention", "report")
    assert "older than 3 days" in answer
    assert "RETENTION_DRY_RUN is on" in answer
    assert cli.store.head(asset.object_key)
    assert cli("retention", "hold", "--tenant", tenant, "--job", str(asset.job_id)).exit_code == 0
    assert "legal hold" in cli("retention", "report")
    cli("retention", "release", "--tenant", tenant, "--job", str(asset.job_id))
    cli("retention", "days", "0", "--tenant", tenant)
    assert "younger than 90 days" in cli("retention", "report")


def test_a_hold_of_a_tenant_is_set_and_released(cli: CommandLine, tenant: str) -> None:
    def is_on_hold() -> bool:
        with transaction(cli.engine) as session:
            return legal_holds.tenant_retentions(session, 90)[tenant].is_on_hold

    assert "is on hold" in cli("retention", "hold", "--tenant", tenant)
    assert is_on_hold()
    assert "no longer on hold" in cli("retention", "release", "--tenant", tenant)
    assert not is_on_hold()


@pytest.mark.parametrize(
    "arguments",
    [
        ("hold", "--tenant", "nobody"),
        ("hold", "--tenant", "demo", "--job", str(uuid4())),
        ("days", "36501", "--tenant", "demo"),
    ],
)
@pytest.mark.usefixtures("tenant")
def test_what_is_not_there_or_not_allowed_is_refused(
    cli: CommandLine, arguments: tuple[str, ...]
) -> None:
    assert cli("retention", *arguments).exit_code == 1


def test_objects_are_backed_up_without_dagster_encrypted_and_off_site(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.store.put_latest("loras/demo/a.safetensors", b"weights")
    (tmp_path / "data" / "backups" / "server").mkdir(parents=True)
    (tmp_path / "data" / "backups" / "server" / "wal").write_bytes(b"wal")
    local = cli("backup", "objects")
    assert (local.exit_code, "copied 1" in local) == (0, True)
    assert (tmp_path / "data/backups/off-site/objects/loras/demo/a.safetensors").exists()
    cli.environment.setenv("BACKUP_TARGET", str(tmp_path / "elsewhere"))
    cli.environment.setenv("BACKUP_ENCRYPTION_KEY", "key")
    answer = cli("backup", "objects")
    assert answer.exit_code == 0
    assert "encrypted" in answer
    names = ("objects/loras/demo/a.safetensors", "barman/server/wal")
    copies = [tmp_path / "elsewhere" / name for name in names]
    assert all(copy.read_bytes().startswith(b"RCLONE") for copy in copies)
    assert not (tmp_path / "elsewhere" / "barman" / "off-site").exists()


def test_watch_says_that_the_store_is_full_and_what_retention_could_free(
    cli: CommandLine, tenant: str
) -> None:
    assert tenant
    assert "OBJECT STORE FULL" not in cli("jobs", "watch", "--once")
    with transaction(cli.engine) as session:
        storage_pauses.report_full(session, cli.store.bucket, "no space left")
    answer = cli("jobs", "watch", "--once")
    assert "OBJECT STORE FULL" in answer
    assert "Retention could free 0 MiB now" in answer
    assert "no space left" in answer
