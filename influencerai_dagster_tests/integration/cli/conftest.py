"""The command line on the test run's own servers, with a catalog and a bucket of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from influencerai_dagster.cli import output
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.settings import VARIABLES
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import empty_catalog
from influencerai_dagster_tests.testing.command_line import CommandLine, forget_settings
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server


@pytest.fixture(scope="session")
def catalog_url(postgres_server: PostgresServer) -> str:
    url = postgres_server.url("cli")
    migrate.ensure_database(url)
    migrate.upgrade(url)
    return url


@pytest.fixture
def cli(
    catalog_url: str,
    s3_server: S3Server,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CommandLine]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "DATABASE_URL": catalog_url,
        "DAGSTER_DATABASE_URL": catalog_url,
        "S3_ENDPOINT": s3_server.endpoint_url,
        "S3_KEY": s3_server.access_key,
        "S3_SECRET": s3_server.secret_key,
        "S3_BUCKET": object_store.bucket,
        "DATA_DIR": str(tmp_path / "no stack runs here"),
        "COLUMNS": "250",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for console in (output.console, output.notes):
        monkeypatch.setattr(console, "width", 250)
    engine = create_catalog_engine(catalog_url)
    yield CommandLine(engine, object_store, monkeypatch)
    forget_settings()
    empty_catalog(engine)
    engine.dispose()


@pytest.fixture
def jobs(cli: CommandLine) -> CommandLine:
    """The command line with two tenants, while no Dagster answers."""
    cli.environment.setenv("DAGSTER_URL", f"http://127.0.0.1:{free_port()}")
    with transaction(cli.engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
    return cli
