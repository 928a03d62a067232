"""The proxy breaks a connection as the named fault does, and passes everything else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from influencerai_dagster_tests.chaos.proxy import Proxy


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[str] = []  # noqa: RUF012 - one server for the module

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(upstream: ThreadingHTTPServer) -> Iterator[Proxy]:
    Echo.seen.clear()
    made = Proxy(upstream.server_port)
    yield made
    made.stop()


def test_requests_and_answers_pass_whole(proxy: Proxy) -> None:
    body = bytes(range(256)) * 2000
    with httpx.Client() as client:
        for _ in range(2):
            assert client.post(f"{proxy.url}/echo", content=body).content == body


def test_it_refuses_and_heals_on_the_same_port(proxy: Proxy) -> None:
    url = proxy.url
    with httpx.Client() as client:
        client.post(url, content=b"1")
        proxy.refuse()
        with pytest.raises(httpx.TransportError):
            client.post(url, content=b"2")
        with pytest.raises(httpx.ConnectError):
            client.post(url, content=b"3")
        proxy.heal()
        assert client.post(url, content=b"4").content == b"4"


def test_it_answers_503_on_open_connections_too(proxy: Proxy) -> None:
    with httpx.Client() as client:
        client.post(proxy.url, content=b"1")
        proxy.answer_503()
        assert client.post(f"{proxy.url}/busy", content=b"2").status_code == 503
        proxy.heal()
        assert client.post(proxy.url, content=b"3").is_success
    assert "/busy" not in Echo.seen


@pytest.mark.parametrize("is_answer", [False, True], ids=["request", "answer"])
@pytest.mark.parametrize("is_released", [False, True], ids=["cut", "released"])
def test_it_holds_one_request_back_and_lets_others_pass(
    proxy: Proxy,
    is_answer: bool,  # noqa: FBT001 - parametrized
    is_released: bool,  # noqa: FBT001 - parametrized
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with proxy.holding(rb"POST /held", is_answer=is_answer) as hold:
            answer = pool.submit(httpx.post, f"{proxy.url}/held", content=b"1")
            assert hold.arrived.wait(10)
            assert httpx.post(f"{proxy.url}/other", content=b"2").is_success
            assert not answer.done()
            if is_released:
                hold.release()
                assert answer.result(timeout=10).content == b"1"
        if not is_released:
            with pytest.raises(httpx.TransportError):
                answer.result(timeout=10)
    assert ("/held" in Echo.seen) is (is_answer or is_released)
