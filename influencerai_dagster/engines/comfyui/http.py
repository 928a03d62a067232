"""HTTP to one server: addresses, credentials and the translation of failures into our errors.

What is asked lives in client.py. Proxies of the environment are not used: ComfyUI is reached
directly.
"""

import ssl
from functools import lru_cache
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from influencerai_dagster.errors import PermanentError, TransientError

MAX_BODY_BYTES = 104_857_600
"""Largest body that ComfyUI takes for /upload/image and /prompt (recorded/sizes)."""

_TRANSIENT_STATUS = {408, 425, 429}
_CUT = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_IDLE_SECONDS = 20.0
"""httpx closes connections that were idle so long, and may close one that another thread took a
moment before. Not after 5 s, its default: then failed jobs come back, many at once."""
_T = TypeVar("_T")


@lru_cache
def _certificates() -> ssl.SSLContext:
    """Load them once: that takes longer than a request, and each server has two connections."""
    return httpx.create_ssl_context(trust_env=False)


class HttpConnection:
    """A pool of connections to one server, safe between threads.

    Attributes:
        url: the address without credentials, for texts and manifests.
    """

    def __init__(
        self, base_url: str, *, timeout_seconds: float, transport: httpx.BaseTransport | None
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
        self._client = httpx.Client(
            base_url=self.url,
            auth=self._auth,
            timeout=timeout_seconds,
            limits=httpx.Limits(keepalive_expiry=_IDLE_SECONDS),
            transport=transport,
            trust_env=False,
            verify=_certificates(),
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def websocket_address(self, client_id: str) -> tuple[str, dict[str, str]]:
        """Return the ws:// address of the progress socket and the headers to open it with."""
        url = f"ws{self.url.removeprefix('http')}/ws?clientId={client_id}"
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
        **arguments: Any,  # noqa: ANN401 - httpx types them
    ) -> httpx.Response:
        """Send one request and return its answer if it is 2xx or its status is in `accept`.

        A GET whose connection is cut is sent once more.

        Raises:
            TransientError: the server is away, too slow, overloaded or answered 5xx.
            PermanentError: it refused the request; the text has what it said.
        """
        what = f"{method} {self.url}{path}"
        try:
            response = self._request(method, path, **arguments)
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

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401
        try:
            return self._client.request(method, path, **arguments)
        except _CUT:
            if method != "GET":  # it may have done its work
                raise
            return self._client.request(method, path, **arguments)

    def parse(self, response: httpx.Response, adapter: TypeAdapter[_T]) -> _T:
        """Return the answer's JSON as a value; TransientError if it is something else.

        A proxy in front of a server that starts answers 200 with a page of its own.
        """
        try:
            return adapter.validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise TransientError(
                f"{response.request.method} {response.request.url}: the answer is not what ComfyUI "
                f"sends ({place}: {first['msg']}): {_text(response)!r}. Is this a ComfyUI server?"
            ) from error


def _text(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:200]
