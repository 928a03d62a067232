"""Links of the web server that open an object, on a real S3 server."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from influencerai_dagster.core.object_paths import file_link
from influencerai_dagster.settings import Settings, load_settings, settings_from
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.webserver.links import file_route
from influencerai_dagster_tests.testing.servers import S3Server


@pytest.fixture
def settings(s3_server: S3Server, object_store: ObjectStore) -> Settings:
    return load_settings(
        (),
        s3_endpoint=s3_server.endpoint_url,
        s3_key=s3_server.access_key,
        s3_secret=s3_server.secret_key,
        s3_bucket=object_store.bucket,
    )


def ask(settings: Settings, path: str) -> httpx.Response:
    async def answer() -> httpx.Response:
        app: Any = Starlette(routes=[file_route(settings)])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ui") as client:
            return await client.get(path)

    return asyncio.run(answer())


@pytest.mark.parametrize(
    "key", ["images/demo/1/output.png", "datasets/demo/bella/images/é #1 50%?.jpg"]
)
def test_a_link_opens_the_object_and_is_signed_for_each_visit(
    settings: Settings, object_store: ObjectStore, key: str
) -> None:
    object_store.put_new(key, b"the file", content_type="image/png")
    answer = ask(settings, file_link(key))
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    opened = httpx.get(answer.headers["location"], trust_env=False)
    assert opened.content == b"the file"


@pytest.mark.parametrize("key", ["images/demo/1/output.png", "", "../../etc/passwd", "a\0b"])
def test_a_link_to_nothing_says_so(settings: Settings, key: str) -> None:
    answer = ask(settings, file_link(key))
    assert answer.status_code == 404
    assert answer.text


def test_an_object_store_that_does_not_answer_is_unavailable(settings: Settings) -> None:
    away = settings_from(settings.variables_set() | {"S3_ENDPOINT": "http://127.0.0.1:9"})
    answer = ask(away, file_link("images/demo/1/output.png"))
    assert answer.status_code == 503
    assert "127.0.0.1:9" in answer.text
