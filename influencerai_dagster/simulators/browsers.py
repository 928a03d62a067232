"""Refuse requests of web pages: only programs use a simulator."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@web.middleware
async def refuse_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 to a page of another server, as ComfyUI does, and to a name that is not ours.

    On loopback every name but its own has been pointed at us by a page (DNS rebinding), whose
    requests look like those of a page of ours.
    """
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != request.host
    is_foreign |= request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    if is_foreign or (_came_by_loopback(request) and _name(request) not in _LOOPBACK):
        return web.Response(status=HTTPStatus.FORBIDDEN)
    return await handler(request)


def _came_by_loopback(request: web.Request) -> bool:
    transport = request.transport
    address = transport.get_extra_info("sockname") if transport else None
    return address is not None and ip_address(address[0]).is_loopback


def _name(request: web.Request) -> str | None:
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None
