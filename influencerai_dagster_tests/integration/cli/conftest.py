"""The command line on the test run's own servers, with a catalog and a bucket of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from influencerai_dagster.cli import app, common, output
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.settings import VARIABLES
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import empty_catalog
from influencerai_dagster_tests.testing.servers import S3Server

_CACHED = (common.settings, common.server_settings, common.engine, common.store)


@dataclass
class Answer:
    """What a command did; `text` is all that it printed, `out` only what goes into a pipe."""

    exit_code: int
    text: str
    out: str = ""

    def __contains__(self, text: str) -> bool:
        """Whether the output has these words, however the terminal broke its lines."""
        return " ".join(text.split()) in " ".join(self.text.split())


@dataclass
class CommandLine:
    """The command `influencerai` in a folder without .env and without a stack."""

    engine: Engine
    store: ObjectStore
    environment: pytest.MonkeyPatch

    def __call__(self, *arguments: str | Path, stdin: str = "") -> Answer:
        """Run a command as a new process would see settings, but in this one."""
        forget()
        result = CliRunner().invoke(app, [str(item) for item in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.output, result.stdout)


def forget() -> None:
    """Let the next command read the settings anew."""
    if common.engine.cache_info().currsize:
        common.engine().dispose()
    for cached in _CACHED:
        cached.cache_clear()


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
    forget()
    empty_catalog(engine)
    engine.dispose()
