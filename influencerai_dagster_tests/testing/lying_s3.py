"""A proxy before an S3 server that changes answers, or loses them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import httpx

from influencerai_dagster_tests.testing.servers import S3Server

Lie = Callable[[str, bytes], bytes]
"""Makes of a key (with its bucket before it) and the true bytes of a GET what is answered."""
_OWN_HEADERS = {"connection", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """A request on its way to the server.

    Attributes:
        method: of HTTP.
        key: with its bucket before it.
        query: after the question mark.
        send: returns what the server answers.
    """

    method: str
    key: str
    query: str
    send: Callable[[], httpx.Response]


Rule = Callable[[Request], httpx.Response | None]
"""Returns what is answered to a request; None cuts the connection instead."""


def half(_: str, data: bytes) -> bytes:
    """Cut an answer in the middle; its Content-Length will agree."""
    return data[: len(data) // 2]


def changed(_: str, data: bytes) -> bytes:
    """Change the last byte of an answer."""
    return data[:-1] + bytes([data[-1] ^ 1])


@contextmanager
def lying(server: S3Server, lie: Lie) -> Iterator[S3Server]:
    """Yield the server behind a proxy that lies about every object it is asked for."""

    def rule(request: Request) -> httpx.Response:
        answer = request.send()
        if request.method != "GET" or "list-type" in request.query or not answer.is_success:
            return answer
        return httpx.Response(200, headers=answer.headers, content=lie(request.key, answer.content))

    with proxied(server, rule) as proxy:
        yield proxy


@contextmanager
def proxied(server: S3Server, rule: Rule) -> Iterator[S3Server]:
    """Yield the server behind a proxy that answers by a rule."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # The signature covers the Host header: it goes on as it came.
            url = server.endpoint_url + self.path
            given = [(name, value) for name, value in self.headers.items() if name != "Connection"]

            def send() -> httpx.Response:
                with httpx.Client() as client:
                    return client.request(self.command, url, headers=given, content=body)

            key, _, query = unquote(self.path).lstrip("/").partition("?")
            answer = rule(Request(self.command, key, query, send))
            if answer is None:
                self.close_connection = True
                return
            length = len(answer.content)
            if self.command == "HEAD":
                length = int(answer.headers.get("Content-Length", 0))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in _OWN_HEADERS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    proxy.block_on_close = False
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield replace(server, endpoint_url=f"http://127.0.0.1:{proxy.server_address[1]}")
    finally:
        proxy.shutdown()
        proxy.server_close()
