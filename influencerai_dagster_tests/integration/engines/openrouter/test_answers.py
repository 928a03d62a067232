"""Answers as servers really give them, over a socket of this machine; how often each was asked for.

The simulator speaks as OpenRouter's documentation does; these are what its users report.
"""

import gzip
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from influencerai_dagster.engines.openrouter.answers import Completion
from influencerai_dagster.engines.openrouter.client import THINKING_ROOM, OpenRouterClient
from influencerai_dagster.engines.openrouter.failures import (
    MaybePaidError,
    RateLimitedError,
    RefusedInputError,
)
from influencerai_dagster.engines.openrouter.http import OpenRouterConnection
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.testing.ports import free_port

KEY = "sk-or-v1-0123456789"


@dataclass
class Server:
    """Answers every request with `body`, which may be computed from what was asked."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    write: Callable[[Any], None] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Message] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(json.loads(request.rfile.read(int(request.headers["content-length"]))))
        self.seen.append(request.headers)
        if self.write is not None:
            self.write(request.wfile)
            return
        found = self.body(self.asked[-1]) if callable(self.body) else self.body
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        request.send_response(self.status)
        for name, value in {**self.headers, "Content-Length": str(len(data))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)

    def ask(self, *, key: str = KEY, timeout_seconds: float = 20, **options: Any) -> Completion:
        client = OpenRouterClient(
            api_key=key,
            base_url=self.url,
            timeout_seconds=timeout_seconds,
            sleep=self.waits.append,
        )
        question = [{"role": "user", "content": "Describe it."}]
        return client.complete(question, **{"model": "m", "max_tokens": 120, **options})


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            found.answer(self)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        found.url = f"http://127.0.0.1:{listening.server_port}/api/v1"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield found
        listening.shutdown()
        thread.join()


def answer(finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "gen-1",
        "model": "m",
        "choices": [
            {"message": {"content": "a woman", **message}, "finish_reason": finish_reason},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.001},
    }


GOOD = answer()
WITH_COMMENTS = (
    b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" + json.dumps(GOOD).encode()
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({**GOOD, "usage": None}, id="usage null"),
        pytest.param({**GOOD, "id": None, "model": None}, id="id null"),
        pytest.param({**GOOD, "usage": {"prompt_tokens": None, "cost": "?"}}, id="tokens null"),
        pytest.param(
            {**GOOD, "usage": {"prompt_tokens": math.nan, "completion_tokens": math.inf}},
            id="tokens that are no number",
        ),
        pytest.param({**GOOD, "error": None}, id="error null"),
        pytest.param(answer(content=[{"type": "text", "text": "a woman"}]), id="parts"),
        pytest.param(
            answer(content=[{"type": "image"}, {"text": "a woman"}]), id="parts of all kinds"
        ),
        pytest.param(answer(refusal=None, reasoning="…"), id="with reasoning"),
        pytest.param({"choices": [{"message": {"content": "a woman"}}]}, id="nothing else"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), id="byte order mark"),
        pytest.param(b"  \n\n \n" + json.dumps(GOOD).encode(), id="blanks that keep alive"),
        pytest.param(WITH_COMMENTS, id="comments that keep alive"),
    ],
)
def test_a_paid_answer_is_read_whatever_else_is_missing(server: Server, body: object) -> None:
    server.body = body
    assert server.ask().text == "a woman"
    assert len(server.asked) == 1


def test_a_key_of_ones_own_at_the_provider_costs_there_too(server: Server) -> None:
    details = {"upstream_inference_cost": 0.02}
    server.body = {**GOOD, "usage": {"cost": 0.001, "is_byok": True, "cost_details": details}}
    assert server.ask().cost_usd == pytest.approx(0.021)
    assert "usage" not in server.asked[0]  # asking for it has no effect any more


def test_a_model_that_thinks_gets_more_tokens_once_and_from_then_on(server: Server) -> None:
    def think(asked: dict[str, Any]) -> dict[str, Any]:
        return GOOD if asked["max_tokens"] > 120 else answer("length", content="", reasoning="hm")

    server.body = think
    client = OpenRouterClient(api_key=KEY, base_url=server.url, sleep=server.waits.append)
    question = [{"role": "user", "content": "Describe it."}]
    first = client.complete(question, model="m", max_tokens=120)
    assert first.text == "a woman"
    assert first.cost_usd == pytest.approx(0.002)
    client.complete(question, model="m", max_tokens=120)
    much = 120 * THINKING_ROOM
    assert [asked["max_tokens"] for asked in server.asked] == [120, much, much]


def test_a_model_that_only_thinks_is_asked_twice_and_named(server: Server) -> None:
    server.body = answer("length", content=None)
    with pytest.raises(PermanentError, match=r"OpenRouter \(m\) used all its 2 tokens") as caught:
        server.ask()
    assert "choose another model" in str(caught.value)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        pytest.param(200, answer("content_filter", content=None), "content_filter", id="filter"),
        pytest.param(200, answer(content=None, refusal="I can't."), "I can't", id="refusal"),
        pytest.param(200, answer(content=""), "empty answer", id="nothing, but paid"),
        pytest.param(
            403,
            {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["sexual"]}}},
            "because of sexual",
            id="moderation",
        ),
        pytest.param(
            200,
            {"choices": [{"error": {"code": 400, "metadata": {"error_type": "invalid_image"}}}]},
            "refused",
            id="an image that the provider cannot read",
        ),
    ],
)
def test_an_input_that_is_refused_is_asked_once(
    server: Server, status: int, body: object, text: str
) -> None:
    server.status, server.body = status, body
    with pytest.raises(RefusedInputError, match=text):
        server.ask()
    assert len(server.asked) == 1


def late(code: object, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "it failed", "metadata": metadata}}


@pytest.mark.parametrize(
    ("body", "error", "num_asked"),
    [
        pytest.param({"error": "Insufficient credits"}, PermanentError, 1, id="error is a text"),
        pytest.param({"error": "try later", "choices": None}, TransientError, 3, id="another text"),
        pytest.param(late("402"), PermanentError, 1, id="code is a text"),
        pytest.param(late(None), TransientError, 3, id="no code"),
        pytest.param({"choices": [{"error": late(401)["error"]}]}, PermanentError, 1, id="choice"),
        pytest.param(answer("error", content=""), TransientError, 3, id="finish_reason error"),
        pytest.param(late(400, error_type="provider_overloaded"), TransientError, 3, id="type"),
        pytest.param({"choices": []}, TransientError, 3, id="a model that starts up"),
        pytest.param(b"<html>gateway</html>", MaybePaidError, 1, id="no JSON"),
        pytest.param(b"[]", MaybePaidError, 1, id="other JSON"),
    ],
)
def test_an_error_inside_an_answer_has_its_class(
    server: Server, body: object, error: type[Exception], num_asked: int
) -> None:
    server.body = body
    with pytest.raises(error) as caught:
        server.ask()
    assert type(caught.value) is error
    assert len(server.asked) == num_asked


def test_credits_that_are_in_flight_are_waited_for(server: Server) -> None:
    server.status, server.headers = 402, {"Retry-After": "12.5"}
    server.body = late(402, limit_source="openrouter_in_flight_budget")
    with pytest.raises(RateLimitedError, match=r"asks to wait 12\.5 s"):
        server.ask()
    assert server.waits == [12.5, 12.5]


@pytest.mark.parametrize(
    ("code", "metadata", "text"),
    [
        (402, {"limit_source": "openrouter_credits"}, "add some at openrouter"),
        (402, {"limit_source": "openrouter_key_limit"}, "the limit of the key is reached"),
        (
            403,
            {"limit_usd": 5, "spend_usd": 5.01, "resets_at": "2026-12-01T00:00:00Z"},
            r"5\.01 of 5 USD.*it resets at 2026-12-01T00:00:00Z",
        ),
    ],
    ids=["credits", "key", "budget"],
)
def test_a_spent_budget_says_whose_it_is_and_when_it_resets(
    server: Server, code: int, metadata: dict[str, Any], text: str
) -> None:
    server.status, server.body = code, late(code, **metadata)
    with pytest.raises(PermanentError, match=text) as caught:
        server.ask()
    assert type(caught.value) is PermanentError


def test_a_limit_of_free_models_is_not_waited_for(server: Server) -> None:
    reset = {"X-RateLimit-Reset": str(int((time.time() + 7200) * 1000))}
    server.status, server.body = 429, late(429, headers=reset)
    with pytest.raises(RateLimitedError, match=r"asks to wait 7(19|20)\d s"):
        server.ask()
    assert len(server.asked) == 1


def drip(wfile: Any, head: bytes) -> None:
    """Send something, and then a byte now and then, until the client goes away."""
    wfile.write(head)
    try:
        while True:
            wfile.write(b"a")
            wfile.flush()
            time.sleep(0.02)
    except OSError:
        return


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nX-Slow: "],
    ids=["body", "headers"],
)
def test_an_answer_that_never_ends_is_given_up_and_not_asked_for_again(
    server: Server, head: bytes
) -> None:
    server.write = lambda wfile: drip(wfile, head)
    with pytest.raises(MaybePaidError, match=r"did not answer in time.*may be billed"):
        server.ask(timeout_seconds=0.5)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        ({}, b" " * 4096),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 10_000_000)),
    ],
    ids=["plain", "compressed although it should not be"],
)
def test_an_answer_that_is_too_large_is_given_up(
    server: Server, headers: dict[str, str], data: bytes
) -> None:
    server.headers, server.body = headers, data
    connection = OpenRouterConnection(KEY, server.url, 20, max_answer_bytes=2048)
    with pytest.raises(MaybePaidError, match="larger than 2048 bytes"):
        connection.send("POST", "/chat/completions", what="OpenRouter", json={})
    assert server.seen[0]["Accept-Encoding"] == "identity"
    assert len(server.asked) == 1


def test_a_connection_that_is_cut_after_the_question_is_not_asked_again(server: Server) -> None:
    server.write = lambda _: None
    with pytest.raises(MaybePaidError, match="its answer is lost"):
        server.ask()
    assert len(server.asked) == 1


def test_a_server_that_is_not_reached_is_tried_again(server: Server) -> None:
    server.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        server.ask()
    assert not isinstance(caught.value, MaybePaidError)
    assert server.waits == [1.0, 4.0]


@pytest.mark.parametrize("key", [f"{KEY}\n", f"  {KEY}\r\n", f"\t{KEY} "])
def test_blanks_around_the_key_are_left_out(server: Server, key: str) -> None:
    server.body = GOOD
    server.ask(key=key)
    assert server.seen[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("sk-or-…", r"character 7 of 7 is U\+2026 \(HORIZONTAL ELLIPSIS\)"),
        ("sk-or-v1-secret\u200bsecret", r"U\+200B \(ZERO WIDTH SPACE\)"),
        ("sk-or-v1-secret secret", r"U\+0020 \(SPACE\)"),
        ("sk-or-v1-secret\nS3_KEY=secret", r"U\+000A \(a control character\)"),
        ("sk-or-v1-ѕecret", r"U\+0455"),
    ],
    ids=["ellipsis", "zero-width", "blank", "two lines", "letter of another script"],
)
def test_what_is_no_key_is_refused_by_the_name_of_its_setting(
    server: Server, key: str, shown: str
) -> None:
    with pytest.raises(PermanentError, match=f"OPENROUTER_API_KEY is not a key.*{shown}") as caught:
        server.ask(key=key)
    assert "secret" not in str(caught.value)
    assert server.asked == []


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890/")
    client = OpenRouterClient(api_key=KEY, base_url="https://openrouter.invalid/api/v1")
    with pytest.raises(PermanentError, match="environment names the proxy"):
        client.complete([{"role": "user", "content": "Hello."}], model="m", max_tokens=5)


def test_a_server_of_this_machine_needs_no_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890/")
    server.body = GOOD
    assert server.ask().text == "a woman"
