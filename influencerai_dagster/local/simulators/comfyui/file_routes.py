"""Routes over files: upload to a folder, view what is in one."""

import filecmp
import os
import tempfile
from io import BytesIO
from pathlib import Path

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image

from influencerai_dagster.local.simulators.comfyui.server_state import STATE

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
    if root is None or Path(image.filename).is_absolute():
        raise web.HTTPInternalServerError
    subfolder = str(form.get("subfolder") or "")
    folder = Path(os.path.normpath(root / subfolder))
    path = Path(os.path.normpath(folder / image.filename))
    if not folder.is_relative_to(root) or not path.is_relative_to(folder):
        return web.Response(status=400)
    folder.mkdir(parents=True, exist_ok=True)
    is_overwritten = form.get("overwrite") in ("true", "1")
    name = _store(image, path, is_overwritten=is_overwritten)
    stored = Path(image.filename).with_name(name).as_posix()
    return web.json_response({"name": stored, "subfolder": subfolder, "type": kind})


def _store(image: FileField, path: Path, *, is_overwritten: bool) -> str:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        while chunk := image.file.read(1 << 20):
            file.write(chunk)
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
    """Return a file, or a smaller preview or another channel of a picture."""
    query = request.query
    if "filename" not in query:
        return web.Response(status=404)
    filename, kind = query["filename"], query.get("type", "output")
    if not filename or filename.startswith("/") or ".." in filename:
        return web.Response(status=400)
    root = request.app[STATE].folders.by_type(kind)
    if root is None:
        return web.Response(status=400)
    folder = Path(os.path.normpath(root / query.get("subfolder", "")))
    if not folder.is_relative_to(root):
        return web.Response(status=403)
    path = folder / Path(filename).name
    if not path.is_file():
        return web.Response(status=404)
    headers = {"Content-Disposition": f'filename="{path.name}"'}
    if "preview" in query:
        return _preview(path, query["preview"], headers)
    if query.get("channel") == "rgb":
        return _rgb(path, headers)
    return web.FileResponse(path, headers=headers)


def _preview(path: Path, wanted: str, headers: dict[str, str]) -> web.Response:
    name, _, quality = wanted.partition(";")
    picture_format = name if name in {"webp", "jpeg"} else "webp"
    buffer = BytesIO()
    with Image.open(path) as image:
        chosen = int(quality) if quality.isdecimal() else 90
        image.convert("RGB").save(buffer, picture_format, quality=chosen)
    content_type = f"image/{picture_format}"
    return web.Response(body=buffer.getvalue(), content_type=content_type, headers=headers)


def _rgb(path: Path, headers: dict[str, str]) -> web.Response:
    buffer = BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "PNG")
    return web.Response(body=buffer.getvalue(), content_type="image/png", headers=headers)
