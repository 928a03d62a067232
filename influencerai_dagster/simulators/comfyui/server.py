"""Build the server (application, listening socket, worker) and run it until a signal."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any, TextIO

from aiohttp import web

from influencerai_dagster.simulators.browsers import refuse_pages
from influencerai_dagster.simulators.comfyui import (
    fault_routes,
    file_routes,
    info_routes,
    prompt_routes,
)
from influencerai_dagster.simulators.comfyui.executor import Executor
from influencerai_dagster.simulators.comfyui.faults import Faults, Statistics
from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.prompt_queue import PromptQueue
from influencerai_dagster.simulators.comfyui.server_state import STATE, SimulatorState
from influencerai_dagster.simulators.comfyui.sockets import FEATURES, Sockets


@dataclass
class HttpListener:
    """The listening socket, which a fault may close for a while."""

    host: str
    port: int
    _runner: web.AppRunner | None = None
    _site: web.TCPSite | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self, app: web.Application) -> None:
        """Listen for the first time; port 0 becomes the port that was free."""
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await self._listen(self._runner)
        self.port = self._runner.addresses[0][1]

    async def _listen(self, runner: web.AppRunner) -> None:
        self._site = web.TCPSite(runner, self.host, self.port)
        await self._site.start()

    def refuse(self, seconds: float) -> None:
        """Cut all connections, refuse new ones, and listen again after this time."""
        task = asyncio.get_running_loop().create_task(self._close_for(seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_for(self, seconds: float) -> None:
        if self._site is None or self._runner is None or self._runner.server is None:
            return
        await self._site.stop()
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(seconds)
        await self._listen(self._runner)


async def _static(request: web.Request) -> web.StreamResponse:
    """Answer any other GET as the web page's folder does: not found."""
    return web.FileResponse(request.app[STATE].folders.temp / "no-such-page")


def build_app(state: SimulatorState) -> web.Application:
    """Return the application; every ComfyUI route also exists under /api."""
    middlewares = [refuse_pages, fault_routes.fault_middleware]
    app = web.Application(client_max_size=FEATURES["max_upload_size"], middlewares=middlewares)
    app[STATE] = state
    for module in (prompt_routes, file_routes, info_routes):
        app.add_routes(module.routes)
        app.add_routes(
            web.RouteDef(route.method, f"/api{route.path}", route.handler, route.kwargs)
            for route in module.routes
            if isinstance(route, web.RouteDef)
        )
    app.add_routes(fault_routes.routes)
    app.router.add_get("/{path:.*}", _static)
    return app


async def serve(
    host: str,
    port: int,
    folders: Folders,
    fault_values: dict[str, Any],
    *,
    journal: TextIO | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, which end the process at once, as they end ComfyUI."""
    folders.create()
    faults = Faults()
    initial_faults = faults.as_dict() | fault_values
    faults.change(initial_faults)
    statistics = Statistics(journal=journal)
    statistics.note("started")
    loop = asyncio.get_running_loop()
    sockets = Sockets(faults, loop)
    queue = PromptQueue(lambda: sockets.post("status", {"status": state.greeting()}, None))
    executor = Executor(queue, sockets, folders, faults, statistics)
    listener = HttpListener(host, port)
    state = SimulatorState(
        folders, faults, initial_faults, statistics, queue, sockets, executor, listener.refuse
    )
    await listener.open(build_app(state))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _leave)
    executor.start()
    sys.stdout.write(f"To see the GUI go to: http://{host}:{listener.port}\n")
    sys.stdout.flush()
    await sockets.send_loop()


def _leave() -> None:
    sys.stdout.write("Stopped server\n")
    sys.stdout.flush()
    os._exit(0)  # connections break without a close frame, as they do when ComfyUI is stopped
