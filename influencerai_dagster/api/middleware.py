"""Wrap every request: id, security headers, last resort for errors, and limits of the body."""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from influencerai_dagster.api.problems import internal_error, problem_response

MAX_BODY_BYTES = 2 * 1024**2
"""A hundred jobs with the longest prompts; photos go to S3, not through here."""
MAX_SIGN_IN_BYTES = 4 * 1024
"""Anybody may send it, so that it must cost little to read."""
BODY_SECONDS = 30.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
}
_DEFAULTS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Sent unless the route says otherwise."""


class Envelope:
    """Gives each request an id, each response its security headers, and a crash a problem."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                headers.update({**_HEADERS, **state.get("headers", {}), "X-Request-Id": request_id})
                for name, value in _DEFAULTS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if has_started:
                raise
            await internal_error(request_id, error)(scope, receive, send_with_headers)


class WholeBody:
    """Reads a body before the application is asked, within a size and a time."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int = MAX_BODY_BYTES,
        smaller: Mapping[str, int] = MappingProxyType({}),
        timeout_seconds: float = BODY_SECONDS,
    ) -> None:
        """Wrap an application.

        Args:
            app: gets the requests whose body is whole.
            max_bytes: of a body.
            smaller: path -> less, for some.
            timeout_seconds: within which the whole body must arrive.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._smaller = smaller
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._smaller.get(scope["path"], self._max_bytes)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await _read(Headers(scope=scope), receive, max_bytes)
        except TimeoutError:
            refusal = problem_response(
                scope["state"]["request_id"],
                HTTPStatus.REQUEST_TIMEOUT,
                "body_too_slow",
                f"The body did not arrive within {self._timeout_seconds:g} s. Send it again.",
                {"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        if body is None:
            refusal = problem_response(
                scope["state"]["request_id"],
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "body_too_large",
                f"The body is larger than {max_bytes:,} bytes. Send less at once.",
                {"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        is_sent = False

        async def replay() -> Message:
            nonlocal is_sent
            if is_sent:
                return await receive()
            is_sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


async def _read(headers: Headers, receive: Receive, max_bytes: int) -> bytes | None:
    """Return the body; None if it is too large."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        return None
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(chunks)  # the caller is gone; nobody reads what is answered
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
