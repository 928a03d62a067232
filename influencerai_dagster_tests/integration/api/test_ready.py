"""/ready and /health with real servers, and the process `influencerai api`."""

import os
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from influencerai_dagster.api.app import create_app
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.db.api_role import prepare_api_role
from influencerai_dagster.settings import Settings, settings_from
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.api_client import ApiClient
from influencerai_dagster_tests.testing.database_server import execute, influencerai
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server
from influencerai_dagster_tests.testing.waiting import wait_until

SECRET = "a secret of at least 32 characters"  # noqa: S105 - of the test


def variables(database_url: str, s3_server: S3Server, store: ObjectStore) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "S3_ENDPOINT": s3_server.endpoint_url,
        "S3_KEY": s3_server.access_key,
        "S3_SECRET": s3_server.secret_key,
        "S3_BUCKET": store.bucket,
        "JWT_SECRET": SECRET,
    }


@pytest.fixture
def settings(database_url: str, s3_server: S3Server, object_store: ObjectStore) -> Settings:
    prepare_api_role(database_url)
    return settings_from(variables(database_url, s3_server, object_store))


@pytest.fixture
def ask(settings: Settings) -> Iterator[ApiClient]:
    context = ApiContext.of(settings)
    yield ApiClient(create_app(context))
    context.close()


def test_everything_is_there(ask: ApiClient) -> None:
    assert ask.get("/ready").json()["status"] == "ready"
    assert ask.get("/health").json()["database"] == "connected"


def test_a_catalog_that_was_not_migrated_is_named(ask: ApiClient, database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '0001'")
    answer = ask.get("/ready")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert {name for name, found in checks.items() if found != "ok"} == {"migrations"}


def test_the_process_serves_until_it_is_ended(
    database_url: str, s3_server: S3Server, object_store: ObjectStore
) -> None:
    prepare_api_role(database_url)
    port = free_port()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **variables(database_url, s3_server, object_store),
        "PORT": str(port),
    }
    process = subprocess.Popen(influencerai("api"), env=environment)

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, "the API is ready", timeout_seconds=60)
    finally:
        process.terminate()
    assert process.wait(20) in {0, -15}


def test_without_a_secret_it_does_not_start(database_url: str) -> None:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATABASE_URL": database_url,
    }
    done = subprocess.run(
        influencerai("api"), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "JWT_SECRET is not set" in done.stderr
