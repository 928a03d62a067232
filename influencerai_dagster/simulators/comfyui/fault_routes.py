"""Provoke faults and read statistics: /simulator/faults, /simulator/stats; not part of ComfyUI.

What the faults mean is told in faults.py; here they happen to HTTP requests and connections.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

from influencerai_dagster.simulators.comfyui.server_state import STATE

CONTROL = "/simulator/"

routes = web.RouteTableDef()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@routes.get("/simulator/stats")
async def stats(request: web.Request) -> web.Response:
    """Return how often each prompt was posted, executed and rendered."""
    state = request.app[STATE]
    more = {
        "is_worker_alive": state.executor.is_alive(),
        "open_client_ids": list(state.sockets.by_client),
    }
    return web.json_response({**state.statistics.as_dict(), **more})


@routes.get("/simulator/faults")
async def faults(request: web.Request) -> web.Response:
    """Return all faults as they are."""
    return web.json_response(request.app[STATE].faults.as_dict())


@routes.post("/simulator/faults")
async def change_faults(request: web.Request) -> web.Response:
    """Change faults by name; cuts and crashes happen at once."""
    state = request.app[STATE]
    values = await request.json()
    if values.pop("reset", False):
        state.faults.change(state.initial_faults)
    try:
        state.faults.change(values)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)
    if state.faults.crash_now:
        os._exit(1)
    if state.faults.drop_sockets:
        state.faults.drop_sockets = False
        state.sockets.cut()
    if state.faults.refuse_connections_seconds > 0:
        state.refuse(state.faults.refuse_connections_seconds)
        state.faults.refuse_connections_seconds = 0.0
    return web.json_response(state.faults.as_dict())


@web.middleware
async def fault_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Delay, replace or lose the answer to a request; control routes stay free of faults."""
    if request.path.startswith(CONTROL):
        return await handler(request)
    state = request.app[STATE]
    if state.faults.answer_delay_seconds:
        await asyncio.sleep(state.faults.answer_delay_seconds)
    is_meant = request.path.removeprefix("/api") == state.faults.http_path
    if is_meant and state.faults.take("http_status_next"):
        return web.Response(status=state.faults.http_status, text="SIMULATED fault")
    answer = await handler(request)
    if is_meant and state.faults.take("drop_answers_next") and request.transport is not None:
        request.transport.abort()
    return answer
