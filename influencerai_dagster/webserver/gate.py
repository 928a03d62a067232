"""Check every HTTP request and WebSocket before Dagster, as an ASGI middleware.

A web page in the operator's browser can send requests to any address that the browser reaches. Its
browser says for whom it asks, in Host, Origin, Sec-Fetch-Site and Referer; a page cannot forge
these. Programs, such as curl, send Host alone.
"""

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from influencerai_dagster.webserver.authentication import Authenticator, BasicAuth
from influencerai_dagster.webserver.authorities import Authority

HEALTH_PATH = "/healthz"
"""Answers everybody, so that a probe needs no password and no name; it says only that we are up."""
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ASK_FOR_PASSWORD = {"WWW-Authenticate": 'Basic realm="InfluencerAI", charset="UTF-8"'}
_READS = {"GET", "HEAD"}


class Gate:
    """Passes requests under our own name, from our own pages, of users who are known."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authorities: frozenset[Authority],
        authenticators: tuple[Authenticator, ...],
    ) -> None:
        """Wrap an application.

        Args:
            app: gets the requests that may pass.
            authorities: every name of this server.
            authenticators: one of them has to know the user; without any all requests pass.
        """
        self._app = app
        self._authorities = authorities
        self._authenticators = authenticators

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                # A second policy beside Dagster's own; a browser keeps both.
                headers.append("Content-Security-Policy", "frame-ancestors 'none'")
            await send(message)

        refusal = self._refusal(HTTPConnection(scope))
        if refusal is not None and scope["type"] == "websocket":
            # 403, whatever it is refused for: uvicorn logs any other answer as an error of ours.
            await send({"type": "websocket.close", "code": 1008})
        else:
            await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: HTTPConnection) -> PlainTextResponse | None:
        if request.scope["path"] == HEALTH_PATH:
            return None
        return (
            self._refused_host(request)
            or self._refused_page(request)
            or self._refused_body(request)
            or self._refused_user(request)
        )

    def _refused_host(self, request: HTTPConnection) -> PlainTextResponse | None:
        """Refuse other names: one that a page had pointed at us would make its requests ours."""
        hosts = request.headers.getlist("host")
        if len(hosts) == 1 and Authority.parse(hosts[0]) in self._authorities:
            return None
        return PlainTextResponse(
            f"{', '.join(hosts) or 'The empty Host'} is not a name of this server. If it should "
            "be, set DAGSTER_URL, or add it to DAGSTER_WEBSERVER_ALLOWED_HOSTS.\n",
            HTTPStatus.BAD_REQUEST,
        )

    def _refused_page(self, request: HTTPConnection) -> PlainTextResponse | None:
        foreign = self._foreign_page(request)
        if foreign is None:
            return None
        return PlainTextResponse(
            f"The request came from a page of {foreign[:200]}. Only pages of this server may "
            "send it: open the UI under a name of DAGSTER_URL.\n",
            HTTPStatus.FORBIDDEN,
        )

    def _foreign_page(self, request: HTTPConnection) -> str | None:
        """Name the foreign page that sent the request; None if it is ours, or a program sent it."""
        headers = request.headers
        for origin in headers.getlist("origin"):
            if not self._is_own(origin):
                return origin
        if _is_followed_link(request):
            return None
        site = headers.get("sec-fetch-site")
        if site is not None:
            return None if site in {"same-origin", "none"} else f"another site ({site})"
        referer = headers.get("referer")
        return referer if referer and not self._is_own(referer) else None

    def _is_own(self, url: str) -> bool:
        return Authority.of_url(url) in self._authorities

    def _refused_body(self, request: HTTPConnection) -> PlainTextResponse | None:
        """Refuse what a form or a script of any page can send without being asked first."""
        if request.scope["type"] == "websocket" or request.scope["method"] in _READS:
            return None
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "application/json":
            return None
        return PlainTextResponse(
            f"The content type has to be application/json (found {media_type[:80]!r}).\n",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )

    def _refused_user(self, request: HTTPConnection) -> PlainTextResponse | None:
        if not self._authenticators:
            return None
        if any(authenticator.accepts(request) for authenticator in self._authenticators):
            return None
        has_password = any(isinstance(item, BasicAuth) for item in self._authenticators)
        return PlainTextResponse(
            "The request has no valid user and password: send those of DAGSTER_WEBSERVER_USER, "
            "or come through the proxy of this server.\n",
            HTTPStatus.UNAUTHORIZED,
            _ASK_FOR_PASSWORD if has_password else None,
        )


def _is_followed_link(request: HTTPConnection) -> bool:
    """Tell whether a browser goes to a page of ours, as from a chat that links to a run.

    Reading changes nothing, and the page that links to us does not see what is read.
    """
    if request.scope["type"] == "websocket" or request.scope["method"] not in _READS:
        return False
    headers = request.headers
    if "sec-fetch-mode" in headers:
        return (
            headers["sec-fetch-mode"] == "navigate" and headers.get("sec-fetch-dest") == "document"
        )
    return "text/html" in headers.get("accept", "")
