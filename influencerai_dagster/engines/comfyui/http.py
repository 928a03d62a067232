"""Send HTTP requests to one server, each within a deadline, and translate their failures.

The requests are in client.py. Proxies of the environment are not used: ComfyUI is reached directly.
httpx limits each read and write alone: a server that sends one byte every five seconds would hold a
request for ever, also while it sends its headers. So a transport of our own, which follows
httpcore's network backends, holds the whole exchange to the deadline.
"""

import math
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

import httpcore
import httpx
from pydantic import TypeAdapter, ValidationError

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.http_clients import ssl_context

MAX_BODY_BYTES = 104_857_600
"""Largest body that ComfyUI takes for /upload/image and /prompt (point 24 of
docs/protocols/comfyui.md)."""

_TRANSIENT_STATUS = {408, 425, 429}
_CUT = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_IDLE_SECONDS = 20.0
"""httpx closes connections that were idle so long, and may close one that another thread took a
moment before. Not after 5 s, its default: then failed jobs come back, many at once."""
_CHUNK_BYTES = 64 * 1024
_T = TypeVar("_T")
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


@dataclass(frozen=True)
class AnswerLimits:
    """How much of a server's answers is read, and for how long.

    Attributes:
        json_bytes: largest answer that is not a file; many custom nodes give an /object_info of
            10 MB.
        image_bytes: largest image.
        video_bytes: largest video.
        run_bytes: all files of one run together.
        num_files: files of one run.
        file_seconds: longest time for one file, up or down.
    """

    json_bytes: int = 64 * 1024**2
    image_bytes: int = 200 * 1000**2
    video_bytes: int = 1000**3
    run_bytes: int = 2 * 1000**3
    num_files: int = 2000
    file_seconds: float = 300.0


class RequestContent(TypedDict, total=False):
    """Query and body of a request, as httpx's `Client.build_request` takes them."""

    params: Mapping[str, str]
    json: object
    data: Mapping[str, str]
    files: Mapping[str, tuple[str, bytes]]


class AnswerTooLargeError(TransientError):
    """An answer has more bytes than are read; a file that a node saved does not get smaller."""


class HttpConnection:
    """A pool of connections to one server, safe between threads.

    Attributes:
        url: the address without credentials and query, for texts and manifests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        limits: AnswerLimits,
        transport: httpx.BaseTransport | None,
    ) -> None:
        try:
            address = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise PermanentError(f"ComfyUI's URL cannot be read: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise PermanentError(
                "ComfyUI's URL has to start with http:// or https:// and name a host; "
                f"its scheme is {address.scheme!r}, its host {address.host!r}. Check COMFYUI_URL."
            )
        self._auth = None
        if address.userinfo:
            self._auth = httpx.BasicAuth(address.username, address.password)
        bare = address.copy_with(userinfo=b"", query=None, fragment=None)
        self.url = str(bare).rstrip("/")
        self.limits = limits
        self._timeout_seconds = timeout_seconds
        self._query = address.params  # hosted servers hand out ?token=…, asked for every time
        self._client = httpx.Client(
            base_url=self.url,
            auth=self._auth,
            params=self._query,
            headers={"Accept-Encoding": "identity"},
            timeout=timeout_seconds,
            transport=transport
            or BoundedTransport(ssl_context(self.url), keepalive_expiry=_IDLE_SECONDS),
            trust_env=False,
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def websocket_address(self, client_id: str) -> tuple[str, dict[str, str]]:
        """Return the ws:// address of the progress socket and the headers to open it with."""
        query = self._query.set("clientId", client_id)
        url = f"ws{self.url.removeprefix('http')}/ws?{query}"
        headers: dict[str, str] = {}
        if self._auth is not None:
            request = next(self._auth.sync_auth_flow(httpx.Request("GET", self.url)))
            headers["Authorization"] = request.headers["Authorization"]
        return url, headers

    def send(
        self,
        method: str,
        path: str,
        *,
        accept: tuple[int, ...] = (),
        max_bytes: int | None = None,
        seconds: float | None = None,
        **content: Unpack[RequestContent],
    ) -> httpx.Response:
        """Send one request and return its whole answer if it is 2xx or its status is in `accept`.

        A GET whose connection is cut is sent once more.

        Args:
            method: of the request.
            path: below the server's address.
            accept: other statuses that are not an error.
            max_bytes: largest answer that is read; None for `limits.json_bytes`.
            seconds: longest time from now to the answer's last byte; None for `timeout_seconds`.
            content: query and body.

        Raises:
            AnswerTooLargeError: it has more than max_bytes.
            TransientError: the server is away, too slow, overloaded or answered 5xx.
            PermanentError: it refused the request; the text has its answer.
        """
        what = f"{method} {self.url}{path}"
        try:
            with deadline(seconds or self._timeout_seconds):
                response = self._request(method, path, max_bytes or self.limits.json_bytes, content)
        except httpx.TimeoutException as error:
            raise TransientError(
                f"{what}: no answer in time ({type(error).__name__}). ComfyUI may be overloaded; "
                "try again."
            ) from error
        except httpx.HTTPError as error:
            raise TransientError(
                f"{what}: {str(error) or type(error).__name__}. Does ComfyUI run there? Try again."
            ) from error
        if response.is_success or response.status_code in accept:
            return response
        status = f"{response.status_code} {response.reason_phrase}"
        found = f"{what}: {status} {_text(response)}".rstrip()
        if response.is_server_error or response.status_code in _TRANSIENT_STATUS:
            raise TransientError(f"{found}. Try again; ComfyUI's log has the cause.")
        raise PermanentError(f"{found}. ComfyUI refuses this; trying again changes nothing.")

    def _request(
        self,
        method: str,
        path: str,
        max_bytes: int,
        content: RequestContent,
    ) -> httpx.Response:
        request = self._client.build_request(method, path, **content)
        try:
            return self._answer(request, max_bytes)
        except _CUT:
            if method != "GET":  # it may have done its work
                raise
            return self._answer(request, max_bytes)

    def _answer(self, request: httpx.Request, max_bytes: int) -> httpx.Response:
        """Read a whole answer in bounded memory: a compressed one could have any size."""
        response = self._client.send(request, stream=True)
        try:
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise TransientError(
                    f"{_what(request)}: the answer is compressed ({encoding[:20]}), though it was "
                    "asked for as it is. Check the proxy before this ComfyUI."
                )
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > max_bytes:
                    raise AnswerTooLargeError(
                        f"{_what(request)}: the answer has more than {max_bytes} bytes, which is "
                        "more than is read. Is this a ComfyUI server?"
                    )
        finally:
            response.close()
        return httpx.Response(
            response.status_code, headers=response.headers, content=bytes(content), request=request
        )

    def parse(self, response: httpx.Response, adapter: TypeAdapter[_T]) -> _T:
        """Return the answer's JSON as a value; TransientError if it is something else.

        A proxy in front of a server that starts answers 200 with a page of its own.
        """
        try:
            return adapter.validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            location = ".".join(str(part) for part in first["loc"])
            raise TransientError(
                f"{_what(response.request)}: the answer is not what ComfyUI sends ({location}: "
                f"{first['msg']}): {_text(response)!r}. Is this a ComfyUI server?"
            ) from error


def _what(request: httpx.Request) -> str:
    return f"{request.method} {request.url.copy_with(query=None)}"


def _text(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:200]


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let every request of this thread in the block end after so many seconds."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _seconds_left(timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise late("the whole answer took too long")
    if math.isinf(left):
        return timeout
    return left if timeout is None else min(left, timeout)


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds_left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _CHUNK_BYTES):
            left = _seconds_left(timeout, httpcore.WriteTimeout)
            self._stream.write(buffer[start : start + _CHUNK_BYTES], left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _seconds_left(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._stream.get_extra_info(info)


class _BoundedBackend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _seconds_left(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(super().connect_tcp(host, port, left, local_address, socket_options))


class BoundedTransport(httpx.BaseTransport):
    """A pool of connections whose requests keep to `deadline`; safe between threads."""

    def __init__(self, ssl_context: ssl.SSLContext | None, *, keepalive_expiry: float) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=keepalive_expiry,
            network_backend=_BoundedBackend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer's body is read from the connection piece by piece."""
        url = request.url
        with _errors_of_httpx():
            answer = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme,
                        host=url.raw_host,
                        port=url.port,
                        target=url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        with _errors_of_httpx():
            self._answer.close()


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except httpcore.ConnectTimeout as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except httpcore.WriteTimeout as error:
        raise httpx.WriteTimeout(str(error)) from error
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error)) from error
    except httpcore.ConnectError as error:
        raise httpx.ConnectError(str(error)) from error
    except httpcore.WriteError as error:
        raise httpx.WriteError(str(error)) from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError(str(error)) from error
    except httpcore.ProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
