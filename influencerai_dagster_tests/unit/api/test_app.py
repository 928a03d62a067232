"""What every response of the API has: headers, limits, problems; no server is needed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from influencerai_dagster.api.app import create_app
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.api.middleware import MAX_BODY_BYTES, Envelope, WholeBody
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.settings import settings_from
from influencerai_dagster_tests.testing.api_client import ApiClient

AWAY = {
    "DATABASE_URL": "postgresql://u:pw-canary@127.0.0.1:9/x",
    "S3_ENDPOINT": "http://127.0.0.1:9",
    "S3_KEY": "key",
    "S3_SECRET": "secret",
    "JWT_SECRET": "a secret of at least 32 characters",
}


class Body(BaseModel):
    number: int
    password: str = ""


def app_with(**variables: str) -> FastAPI:
    return create_app(ApiContext.of(settings_from(AWAY | variables)))


@pytest.fixture
def app() -> FastAPI:
    app = app_with()
    errors: dict[str, Exception] = {
        "crash": RuntimeError("inner-canary"),
        "refused": PermanentError("the dataset is empty"),
        "away": TransientError("host-canary is away"),
    }

    @app.get("/test/{name}")
    def fail(name: str) -> None:
        raise errors[name]

    @app.post("/test")
    def take(body: Body) -> int:
        return body.number

    return app


@pytest.fixture
def ask(app: FastAPI) -> Iterator[ApiClient]:
    yield ApiClient(app)
    app.state.context.close()


def test_health_is_ok_while_the_database_is_away(ask: ApiClient) -> None:
    answer = ask.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["database"]) == ("ok", "disconnected")


def test_ready_names_what_fails_and_nothing_secret(
    ask: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "checks": {
            "database": "failed",
            "migrations": "failed",
            "tenant_isolation": "failed",
            "object_store": "failed",
        },
    }
    assert "127.0.0.1:9" in caplog.text
    assert "pw-canary" not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/test/refused", 422, "refused"),
        ("GET", "/test/away", 503, "unavailable"),
        ("GET", "/test/crash", 500, "internal_error"),
    ],
)
def test_every_error_is_a_problem(
    ask: ApiClient, method: str, path: str, status: int, code: str
) -> None:
    answer = ask(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "canary" not in answer.text


def test_a_crash_is_in_the_log_under_the_request_id(
    ask: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        ask.get("/test/crash", headers={"X-Request-Id": "mine-1"})
    assert "mine-1" in caplog.text
    assert "inner-canary" in caplog.text


def test_a_method_that_is_not_allowed_names_those_that_are(ask: ApiClient) -> None:
    assert ask("DELETE", "/health").headers["allow"] == "GET"


def test_allow_names_the_methods_of_all_routes_of_a_path(ask: ApiClient) -> None:
    assert ask("PATCH", "/api/v1/jobs").headers["allow"] == "GET, POST"
    assert ask("DELETE", "/api/v1/influencers/nova").headers["allow"] == "GET, PUT"


def test_a_bad_field_is_named_with_what_was_found_and_what_is_allowed(ask: ApiClient) -> None:
    problem = ask.post("/test", {"number": "many"}).json()
    assert problem["code"] == "invalid_fields"
    (error,) = problem["errors"]
    assert (error["field"], error["found"]) == ("body.number", '"many"')
    assert "integer" in error["allowed"]


def test_a_password_is_not_repeated_in_a_problem(ask: ApiClient) -> None:
    answer = ask.post("/test", {"number": 1, "password": 987654321})
    assert answer.status_code == 422
    assert "987654321" not in answer.text


def test_a_body_that_is_not_json_says_so(ask: ApiClient) -> None:
    answer = ask("POST", "/test", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("path", ["/health", "/nothing", "/test/crash"])
def test_every_response_has_the_security_headers(ask: ApiClient, path: str) -> None:
    headers = ask.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("request_id", ["a b", "x" * 65, "é"])
def test_a_request_id_that_could_forge_a_log_is_replaced(ask: ApiClient, request_id: str) -> None:
    answer = ask.get("/nothing", headers={"X-Request-Id": request_id.encode()})
    assert answer.headers["x-request-id"].isalnum()
    assert len(answer.headers["x-request-id"]) == 32


def test_a_body_of_the_largest_size_is_taken(ask: ApiClient) -> None:
    body = b'{"number": 1, "password": "' + b"x" * (MAX_BODY_BYTES - 29) + b'"}'
    assert len(body) == MAX_BODY_BYTES
    answer = ask("POST", "/test", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


@pytest.mark.parametrize("is_announced", [True, False], ids=["Content-Length", "chunked"])
def test_a_body_that_is_too_large_is_refused(ask: ApiClient, *, is_announced: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (MAX_BODY_BYTES // 2)

    content: Any = b"x" * (MAX_BODY_BYTES + 1) if is_announced else chunks()
    answer = ask("POST", "/test", content=content)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_sign_in_that_anybody_may_send_is_small(ask: ApiClient) -> None:
    body = {"email": "a@b.example", "password": "x", "more": "x" * 4096}
    answer = ask.post("/api/v1/auth/token", body)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert "4,096 bytes" in answer.json()["detail"]


def test_countless_bad_fields_are_told_by_the_first_of_them(ask: ApiClient) -> None:
    answer = ask.post("/api/v1/auth/token", {f"{number}": 1 for number in range(300)})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 50


def test_a_body_that_never_ends_is_given_up(app: FastAPI) -> None:
    async def send() -> list[Any]:
        messages: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(3600)

        async def record(message: Any) -> None:
            messages.append(message)

        scope = {"type": "http", "method": "POST", "path": "/test", "headers": []}
        await Envelope(WholeBody(app, timeout_seconds=0.05))(scope, receive, record)
        return messages

    started = asyncio.run(send())[0]
    assert started["status"] == 408


def preflight(app: FastAPI, origin: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return ApiClient(app)("OPTIONS", "/health", headers=headers)


def test_only_pages_of_cors_origin_may_ask() -> None:
    app = app_with(CORS_ORIGIN="https://studio.example, http://localhost:3000/")
    name = "access-control-allow-origin"
    assert preflight(app, "http://localhost:3000").headers[name] == "http://localhost:3000"
    assert name not in preflight(app, "https://evil.example").headers
    assert name not in preflight(app_with(), "https://studio.example").headers


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/start.js", "/api/openapi.json"])
def test_the_description_can_be_switched_off(path: str) -> None:
    assert ApiClient(app_with()).get(path).status_code == 200
    assert ApiClient(app_with(SWAGGER_ENABLED="false")).get(path).status_code == 404


def test_the_page_runs_no_script_but_swagger_uis_and_its_own() -> None:
    answer = ApiClient(app_with()).get("/api/docs")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' https://cdn.jsdelivr.net;" in policy
    assert answer.text.count("integrity=") == answer.text.count("crossorigin=") == 2
