"""The door of the web server, before an application that answers everything."""

import asyncio
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from influencerai_dagster.settings import load_settings
from influencerai_dagster.webserver.authentication import Authenticator, BasicAuth, ForwardAuth
from influencerai_dagster.webserver.authorities import own_authorities
from influencerai_dagster.webserver.gate import Gate

PASSED = "passed"
OPENED, CLOSED = "websocket.accept", "websocket.close"
USER, PASSWORD = "operator", "pässword: with a colon"
BASIC = BasicAuth(USER, PASSWORD)
FORWARD = ForwardAuth("x-forwarded-user", (ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
JSON = {"Content-Type": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every request, and opens every WebSocket."""
    if scope["type"] == "http":
        await PlainTextResponse(PASSED)(scope, receive, send)
    else:
        await send({"type": "websocket.accept"})


def gate(*authenticators: Authenticator) -> Gate:
    settings = load_settings(
        (),
        dagster_url="https://dagster.example.com/",
        dagster_webserver_port=3000,
        dagster_webserver_allowed_hosts="gpu1.lan:8443, [fd00::1]:3000",
    )
    return Gate(application, authorities=own_authorities(settings), authenticators=authenticators)


def ask(
    method: str,
    path: str,
    *authenticators: Authenticator,
    address: str = "127.0.0.1",
    **request: Any,
) -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(gate(*authenticators), client=(address, 50_000))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:3000"
        ) as client:
            return await client.request(method, path, **request)

    return asyncio.run(answer())


def open_socket(headers: dict[str, str], *authenticators: Authenticator) -> str:
    """Open a WebSocket; what it is answered."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    all_headers = {"Host": "127.0.0.1:3000", **headers}
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "client": ("127.0.0.1", 50_000),
        "headers": [(name.lower().encode(), v.encode()) for name, v in all_headers.items()],
        "extensions": {"websocket.http.response": {}},
    }
    asyncio.run(gate(*authenticators)(scope, receive, send))
    return str(sent[0]["type"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:3000",
        "localhost:3000",
        "LocalHost:3000",
        "localhost.:3000",
        "[::1]:3000",
        "[0:0:0:0:0:0:0:1]:3000",
        "dagster.example.com",
        "dagster.example.com:443",
        "DAGSTER.example.com.",
        "gpu1.lan:8443",
        "[FD00::1]:3000",
    ],
)
def test_every_name_of_the_server_is_answered(host: str) -> None:
    assert ask("GET", "/", headers={"Host": host}).text == PASSED


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3000",
        "127.0.0.1",
        "127.0.0.1:3001",
        "127.0.0.1:3000:3000",
        "127.0.0.1:3000@evil.example",
        "localhost:3000.",
        "localhost..:3000",
        "localhost:３０００",
        "xlocalhost:3000",
        "localhost.evil.example:3000",
        "dagster.example.com:8080",
        "dagster.example.com.evil.example",
        "gpu1.lan",
        "[::1:3000",
        "[:::1]:3000",
        "[::ffff:127.0.0.1]:3000",
        "2130706433:3000",
        "",
        ":3000",
    ],
)
def test_another_name_is_refused_as_a_page_could_have_pointed_it_at_us(host: str) -> None:
    answer = ask("GET", "/", headers={"Host": host.encode()})
    assert answer.status_code == 400
    assert "DAGSTER_WEBSERVER_ALLOWED_HOSTS" in answer.text


def test_two_names_at_once_are_refused() -> None:
    hosts = [("Host", "127.0.0.1:3000"), ("Host", "evil.example")]
    assert ask("GET", "/", headers=hosts).status_code == 400


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Host", "Forwarded"])
def test_a_name_in_another_header_does_not_count(header: str) -> None:
    answer = ask("GET", "/", headers={"Host": "evil.example", header: "127.0.0.1:3000"})
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "http://evil.example"}, id="origin"),
        pytest.param({"Origin": "null"}, id="sandboxed frame"),
        pytest.param({"Origin": ""}, id="empty origin"),
        pytest.param({"Origin": "http://127.0.0.1:8000"}, id="another port of this machine"),
        pytest.param({"Origin": "http://127.0.0.1"}, id="default port of this machine"),
        pytest.param({"Origin": "http://127.0.0.1:3000.evil.example"}, id="name that begins alike"),
        pytest.param({"Origin": "file://127.0.0.1:3000"}, id="file"),
        pytest.param({"Origin": "chrome-extension://127.0.0.1:3000"}, id="extension"),
        pytest.param({"Origin": "http://x@127.0.0.1:3000"}, id="user in the origin"),
        pytest.param({"Origin": "http://["}, id="no URL"),
        pytest.param({"Origin": "http://evil.example", **LINK}, id="origin with a link's headers"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="another port of the same name"),
        pytest.param({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, id="image"),
        pytest.param({**LINK, "Sec-Fetch-Dest": "iframe"}, id="frame"),
        pytest.param({**LINK, "Sec-Fetch-Dest": "embed"}, id="embedded"),
        pytest.param({**LINK, "Sec-Fetch-Mode": "no-cors"}, id="script"),
        pytest.param({"Referer": "http://evil.example/x"}, id="referer alone"),
        pytest.param({"Referer": "http://127.0.0.1:8000/"}, id="referer of another port"),
    ],
)
def test_what_a_foreign_page_asks_for_is_refused(method: str, headers: dict[str, str]) -> None:
    answer = ask(method, "/graphql", headers={**JSON, **headers})
    assert answer.status_code == 403
    assert "Only pages of this server may" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="program"),
        pytest.param({"Origin": "http://127.0.0.1:3000"}, id="own page"),
        pytest.param({"Origin": "https://dagster.example.com"}, id="own page behind a proxy"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, id="same origin"),
        pytest.param({"Sec-Fetch-Site": "none"}, id="typed by hand"),
        pytest.param({"Referer": "http://localhost:3000/runs"}, id="own referer"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_own_pages_and_programs_pass(method: str, headers: dict[str, str]) -> None:
    assert ask(method, "/graphql", headers={**JSON, **headers}).text == PASSED


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({**LINK, "Referer": "https://chat.example/"}, id="browser of today"),
        pytest.param({**PAGE, "Referer": "https://chat.example/"}, id="http without Sec-Fetch"),
    ],
)
def test_a_link_to_a_run_can_be_followed_from_anywhere_but_not_posted(
    headers: dict[str, str],
) -> None:
    assert ask("GET", "/runs/1", headers=headers).text == PASSED
    assert ask("POST", "/runs/1", headers={**JSON, **headers}).status_code == 403


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; a=application/json",
        "text/plain;charset=application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/json, text/plain",
        "application/jsonx",
        "application/graphql",
        "",
    ],
)
def test_what_any_page_can_post_unasked_is_refused(content_type: str) -> None:
    answer = ask("POST", "/graphql", content="{}", headers={"Content-Type": content_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken(content_type: str) -> None:
    answer = ask("POST", "/graphql", content="{}", headers={"Content-Type": content_type})
    assert answer.text == PASSED


@pytest.mark.parametrize("path", ["/", "/graphql", "/logs/x"])
@pytest.mark.parametrize("is_refused", [False, True], ids=["passed", "refused"])
def test_no_answer_can_be_framed_sniffed_or_embedded(path: str, is_refused: bool) -> None:  # noqa: FBT001 - parametrized
    headers = {"Origin": "http://evil.example"} if is_refused else {}
    answer = ask("GET", path, headers=headers)
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://127.0.0.1:3000"}])
def test_a_websocket_of_our_page_or_of_a_program_opens(headers: dict[str, str]) -> None:
    assert open_socket(headers) == OPENED


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        LINK,
        {"Host": "evil.example:3000", "Origin": "http://evil.example:3000"},
    ],
)
def test_a_websocket_of_another_page_does_not(headers: dict[str, str]) -> None:
    assert open_socket(headers) == CLOSED


def test_a_websocket_needs_the_password_too() -> None:
    assert open_socket({}, BASIC) == CLOSED


def test_user_and_password_let_in() -> None:
    assert ask("GET", "/", BASIC, auth=httpx.BasicAuth(USER, PASSWORD)).text == PASSED


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic b3BlcmF0b3I="},
        {"Authorization": "Bearer b3BlcmF0b3I6cA=="},
        {"Authorization": "Basic b3BlcmF0b3I6cA=="},
        {"Authorization": "Basic \xff"},
    ],
)
def test_anything_else_is_asked_for_the_password(headers: dict[str, str]) -> None:
    answer = ask(
        "GET",
        "/",
        BASIC,
        headers={name: value.encode("latin-1") for name, value in headers.items()},
    )
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_foreign_page_gains_nothing_by_the_password_that_the_browser_knows() -> None:
    answer = ask(
        "POST",
        "/graphql",
        BASIC,
        headers={**JSON, "Origin": "http://evil.example"},
        auth=httpx.BasicAuth(USER, PASSWORD),
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7"])
def test_the_proxy_is_believed(address: str) -> None:
    answer = ask("GET", "/", FORWARD, address=address, headers={"X-Forwarded-User": "ann"})
    assert answer.text == PASSED


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        pytest.param("10.2.0.1", [("X-Forwarded-User", "ann")], id="not the proxy"),
        pytest.param("10.1.2.3", [], id="proxy names nobody"),
        pytest.param("10.1.2.3", [("X-Forwarded-User", " ")], id="blank"),
        pytest.param(
            "10.1.2.3", [("X-Forwarded-User", "eve"), ("X-Forwarded-User", "ann")], id="two users"
        ),
        pytest.param(
            "10.2.0.1",
            [("X-Forwarded-User", "ann"), ("X-Forwarded-For", "10.1.2.3")],
            id="says it is the proxy",
        ),
        pytest.param("testclient", [("X-Forwarded-User", "ann")], id="no address"),
    ],
)
def test_nobody_else_is_believed(address: str, headers: list[tuple[str, str]]) -> None:
    answer = ask("GET", "/", FORWARD, address=address, headers=headers)
    assert answer.status_code == 401
    assert "WWW-Authenticate" not in answer.headers


def test_one_of_both_ways_is_enough() -> None:
    for own in ({"headers": {"X-Forwarded-User": "ann"}}, {"auth": (USER, PASSWORD.encode())}):
        assert ask("GET", "/", BASIC, FORWARD, address="10.1.2.3", **own).text == PASSED
    assert ask("GET", "/", BASIC, FORWARD, address="10.1.2.3").status_code == 401


def test_a_health_probe_needs_neither_name_nor_password() -> None:
    answer = ask("GET", "/healthz", BASIC, headers={"Host": "10.0.0.7:3000"})
    assert answer.text == PASSED
    for path in ("/healthz/", "/healthz%0A", "//healthz", "/healthz/../graphql"):
        assert ask("GET", path, BASIC, headers={"Host": "10.0.0.7:3000"}).status_code == 400
