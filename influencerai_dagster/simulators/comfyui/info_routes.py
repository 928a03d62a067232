"""Serve the routes that describe the server: nodes, models, features, system, WebSocket."""

import os
import platform
import sys
from typing import Any

from aiohttp import web

from influencerai_dagster.simulators.comfyui.folders import MODEL_FOLDERS
from influencerai_dagster.simulators.comfyui.node_classes import node_classes, object_info
from influencerai_dagster.simulators.comfyui.safetensors_header import read_metadata
from influencerai_dagster.simulators.comfyui.server_state import STATE
from influencerai_dagster.simulators.comfyui.sockets import FEATURES

VERSION = "0.3.64-simulated"

routes = web.RouteTableDef()


@routes.get("/ws")
async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Serve one WebSocket."""
    state = request.app[STATE]
    state.statistics.connections += 1
    return await state.sockets.handle(request, state.greeting(), state.executor.running_node)


@routes.get("/features")
async def features(_: web.Request) -> web.Response:
    """List what the server can do."""
    return web.json_response(FEATURES)


@routes.get("/object_info")
async def all_object_info(request: web.Request) -> web.Response:
    """Describe every node."""
    folders = request.app[STATE].folders
    return web.json_response({name: object_info(name, folders) for name in node_classes()})


@routes.get("/object_info/{name}")
async def one_object_info(request: web.Request) -> web.Response:
    """Describe one node; `{}` when there is none of that name."""
    name = request.match_info["name"]
    if name not in node_classes():
        return web.json_response({})
    return web.json_response({name: object_info(name, request.app[STATE].folders)})


@routes.get("/models")
async def model_folders(_: web.Request) -> web.Response:
    """List the model folders."""
    return web.json_response(MODEL_FOLDERS)


@routes.get("/models/{folder}")
async def models(request: web.Request) -> web.Response:
    """List the files of a model folder."""
    folder = request.match_info["folder"]
    if folder not in MODEL_FOLDERS:
        return web.Response(status=404)
    return web.json_response(request.app[STATE].folders.model_names(folder))


@routes.get("/view_metadata/{folder}")
async def model_metadata(request: web.Request) -> web.Response:
    """Return `__metadata__` of a safetensors file."""
    name = request.query.get("filename", "")
    path = request.app[STATE].folders.model_path(request.match_info["folder"], name)
    if path is None or path.suffix != ".safetensors":
        return web.Response(status=404)
    metadata = read_metadata(path)
    return web.json_response(metadata) if metadata else web.Response(status=404)


@routes.get("/embeddings")
async def embeddings(_: web.Request) -> web.Response:
    """List embeddings: none."""
    return web.json_response([])


@routes.get("/internal/folder_paths")
async def folder_paths(request: web.Request) -> web.Response:
    """Return where the model folders are."""
    folders = request.app[STATE].folders
    return web.json_response(
        {
            name: [str(folders.models / name), str(folders.output / name)]
            for name in ("checkpoints", "loras")
        }
    )


@routes.get("/internal/files/{kind}")
async def files(request: web.Request) -> web.Response:
    """List the files at the top of the output, input or temp folder, newest first."""
    folder = request.app[STATE].folders.by_type(request.match_info["kind"])
    if folder is None:
        return web.json_response({"error": "Invalid directory type"}, status=400)
    entries = sorted(
        (entry for entry in os.scandir(folder) if entry.is_file()),
        key=lambda entry: -entry.stat().st_mtime,
    )
    return web.json_response([entry.name for entry in entries])


@routes.get("/system_stats")
async def system_stats(_: web.Request) -> web.Response:
    """Return versions and memory; the version says that this is a simulation."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    total = page_bytes * os.sysconf("SC_PHYS_PAGES")
    free = page_bytes * os.sysconf("SC_AVPHYS_PAGES")
    device: dict[str, Any] = {"name": "cpu (simulated)", "type": "cpu", "index": None}
    device |= {"vram_total": total, "vram_free": free}
    device |= {"torch_vram_total": total, "torch_vram_free": free}
    system = {
        "os": os.name,
        "ram_total": total,
        "ram_free": free,
        "comfyui_version": VERSION,
        "required_frontend_version": "none",
        "installed_templates_version": None,
        "required_templates_version": "none",
        "python_version": f"{sys.version} on {platform.machine()}",
        "pytorch_version": "none",
        "embedded_python": False,
        "argv": sys.argv,
    }
    return web.json_response({"system": system, "devices": [device]})
