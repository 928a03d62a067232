"""Serve the routes of files: upload and view."""

import filecmp
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image

from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.server_state import STATE

routes = web.RouteTableDef()


@routes.post("/upload/image")
async def upload(request: web.Request) -> web.Response:
    """Store an upload under its name, or a numbered one when other bytes are there already."""
    form = await request.post()
    image = form.get("image")
    if not isinstance(image, FileField) or not image.filename:
        return web.Response(status=400)
    kind = str(form.get("type") or "input")
    root = request.app[STATE].folders.by_type(kind)
    if root is None:
        raise ValueError(f"there is no folder type {kind!r}")  # answers 500, as ComfyUI does
    subfolder = str(form.get("subfolder") or "")
    path = _upload_path(root, subfolder, image.filename)
    if path is None:
        return web.Response(status=400)
    is_overwritten = form.get("overwrite") in ("true", "1")
    name = _store(image, path, is_overwritten=is_overwritten)
    stored = Path(image.filename).with_name(name).as_posix()
    return web.json_response({"name": stored, "subfolder": subfolder, "type": kind})


def _upload_path(root: Path, subfolder: str, filename: str) -> Path | None:
    """Return where an upload goes, None outside the root.

    Makes the subfolder only: a file name with a missing folder in it is 500, as in ComfyUI.
    """
    folder = Path(os.path.normpath(root / subfolder))
    path = Path(os.path.normpath(folder / filename))
    if not folder.is_relative_to(root) or not path.is_relative_to(folder):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return path


def _store(image: FileField, path: Path, *, is_overwritten: bool) -> str:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        shutil.copyfileobj(image.file, file)
    arrived = Path(file.name)
    place, number = path, 0
    while not is_overwritten and place.exists():
        if filecmp.cmp(arrived, place, shallow=False):
            arrived.unlink()
            return place.name
        number += 1
        place = path.with_name(f"{path.stem} ({number}){path.suffix}")
    arrived.replace(place)
    return place.name


@routes.get("/view")
async def view(request: web.Request) -> web.StreamResponse:
    """Return a file, or a smaller preview or another channel of an image."""
    found = _find(request.query, request.app[STATE].folders)
    if not isinstance(found, Path):
        return web.Response(status=found)
    headers = {"Content-Disposition": f'filename="{found.name}"'}
    content_type = mimetypes.guess_type(found)[0] or "application/octet-stream"
    if "preview" in request.query:
        return _preview(found, request.query["preview"], headers)
    if request.query.get("channel") == "rgb":
        return _rgb(found, headers)
    return web.FileResponse(found, headers={**headers, "Content-Type": content_type})


def _find(query: Mapping[str, str], folders: Folders) -> Path | int:
    """Return the file that a query means, or the status code of its refusal."""
    filename = query.get("filename")
    if filename is None:
        return 404
    root = folders.by_type(query.get("type", "output"))
    if not filename or filename.startswith("/") or ".." in filename or root is None:
        return 400
    folder = Path(os.path.normpath(root / query.get("subfolder", "")))
    if not folder.is_relative_to(root):
        return 403
    path = folder / Path(filename).name
    return path if path.is_file() else 404


def _preview(path: Path, wanted: str, headers: dict[str, str]) -> web.Response:
    name, _, quality = wanted.partition(";")
    image_format = name if name in {"webp", "jpeg"} else "webp"
    buffer = BytesIO()
    with Image.open(path) as image:
        chosen = int(quality) if quality.isdecimal() else 90
        image.convert("RGB").save(buffer, image_format, quality=chosen)
    content_type = f"image/{image_format}"
    return web.Response(body=buffer.getvalue(), content_type=content_type, headers=headers)


def _rgb(path: Path, headers: dict[str, str]) -> web.Response:
    buffer = BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "PNG")
    return web.Response(body=buffer.getvalue(), content_type="image/png", headers=headers)
