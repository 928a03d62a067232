"""Run the output nodes: name files, write them with their workflow, report them to history."""

import json
import random
import string
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from influencerai_dagster.program_environment import program_environment
from influencerai_dagster.simulators.comfyui.node_values import NodeContext, NodeResult

_COMPRESS_LEVEL = 1  # ComfyUI takes 4, which costs three times the CPU for a tenth of the size


@dataclass(frozen=True)
class Video:
    """Frames with their rate, not encoded yet."""

    frames: list[Image.Image]
    fps: float


def _text_chunks(context: NodeContext) -> PngInfo:
    chunks = PngInfo()
    chunks.add_text("prompt", json.dumps(context.prompt))
    for key, value in context.extra_pnginfo.items():
        chunks.add_text(key, json.dumps(value))
    return chunks


def _save_pngs(
    context: NodeContext, root: Path, kind: str, images: list[Image.Image], prefix: str
) -> NodeResult:
    place = context.folders.save_place(root, prefix, *images[0].size)
    chunks = _text_chunks(context)
    saved = []
    is_lost = context.faults.take("lose_outputs_next")
    for index, image in enumerate(images):
        name = place.filename(index, ".png")
        path = place.folder / name
        image.save(path, pnginfo=chunks, compress_level=_COMPRESS_LEVEL)
        if is_lost:
            path.unlink()
            context.note_lost()
        saved.append({"filename": name, "subfolder": place.subfolder, "type": kind})
    return NodeResult(ui={"images": saved})


def _save_image(
    context: NodeContext, *, images: list[Image.Image], filename_prefix: str
) -> NodeResult:
    return _save_pngs(context, context.folders.output, "output", images, filename_prefix)


def _preview_image(context: NodeContext, *, images: list[Image.Image]) -> NodeResult:
    letters = random.choices(string.ascii_lowercase, k=5)  # noqa: S311 - a file name, no secret
    prefix = f"ComfyUI_temp_{''.join(letters)}"
    return _save_pngs(context, context.folders.temp, "temp", images, prefix)


def _save_animated_webp(
    context: NodeContext,
    *,
    images: list[Image.Image],
    filename_prefix: str,
    fps: float,
    lossless: bool,
    quality: int,
    method: str,
) -> NodeResult:
    place = context.folders.save_place(context.folders.output, filename_prefix, *images[0].size)
    name = place.filename(0, ".webp")
    images[0].save(
        place.folder / name,
        save_all=True,
        append_images=images[1:],
        duration=int(1000 / fps),
        lossless=lossless,
        quality=quality,
        method={"default": 4, "fastest": 0, "slowest": 6}[method],
    )
    return _animated(context, place.folder / name, place.subfolder)


def _create_video(
    _: NodeContext, *, images: list[Image.Image], fps: float, audio: object = None
) -> NodeResult:
    if audio is not None:
        raise ValueError("SIMULATED: CreateVideo has no sound here; leave `audio` out")
    return NodeResult((Video(images, fps),))


def _save_video(
    context: NodeContext,
    *,
    video: Video,
    filename_prefix: str,
    format: str,  # noqa: A002 - the real node's input
    codec: str,
) -> NodeResult:
    if format not in {"auto", "mp4"}:
        raise ValueError(f"'{format}' is not a valid VideoContainer")
    if codec not in {"auto", "h264"}:
        raise ValueError("Only H264 codec is supported for now")
    size = video.frames[0].size
    place = context.folders.save_place(context.folders.output, filename_prefix, *size)
    path = place.folder / place.filename(0, ".mp4")
    _encode(video, path, json.dumps(context.prompt))
    return _animated(context, path, place.subfolder)


def _encode(video: Video, path: Path, prompt: str) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415 - only for workflows with SaveVideo

    width_px, height_px = video.frames[0].size
    command = (
        f"-y -loglevel error -f rawvideo -pix_fmt rgb24 -s {width_px}x{height_px} -r {video.fps:g} "
        "-i - -c:v libx264 -pix_fmt yuv420p -preset veryfast -movflags use_metadata_tags -metadata"
    ).split()
    subprocess.run(  # noqa: S603 - ffmpeg from its wheel, arguments made here
        [get_ffmpeg_exe(), *command, f"prompt={prompt}", str(path)],
        env=program_environment(),
        input=b"".join(_raw(video.frames)),
        check=True,
        capture_output=True,
    )


def _raw(frames: list[Image.Image]) -> Iterator[bytes]:
    return (frame.tobytes() for frame in frames)


def _animated(context: NodeContext, path: Path, subfolder: str) -> NodeResult:
    if context.faults.take("lose_outputs_next"):
        path.unlink()
        context.note_lost()
    saved: dict[str, Any] = {"filename": path.name, "subfolder": subfolder, "type": "output"}
    return NodeResult(ui={"images": [saved], "animated": (True,)})


SAVE_NODES: dict[str, Callable[..., NodeResult]] = {
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "SaveAnimatedWEBP": _save_animated_webp,
    "CreateVideo": _create_video,
    "SaveVideo": _save_video,
}
