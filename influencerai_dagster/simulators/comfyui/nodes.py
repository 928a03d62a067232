"""Run each node; latents are sizes, images are lists of Pillow images.

Models are loaded in model_nodes.py, files saved in save_nodes.py, images drawn in drawing.py and
motion.py. Inputs and ranges of the nodes are in node_classes.json.
"""

import hashlib
import math
import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image, ImageOps

from influencerai_dagster.simulators.comfyui.drawing import Portrait, draw_portrait
from influencerai_dagster.simulators.comfyui.marks import add_simulated_mark
from influencerai_dagster.simulators.comfyui.model_nodes import MODEL_NODES, Model
from influencerai_dagster.simulators.comfyui.motion import move
from influencerai_dagster.simulators.comfyui.node_values import NodeContext, NodeResult
from influencerai_dagster.simulators.comfyui.save_nodes import SAVE_NODES

_PREVIEW_SIZE_PX = 192
_LATENT_PX = 8


@dataclass(frozen=True)
class Conditioning:
    """A prompt text, or the first frame of a video."""

    text: str = ""
    init_image: Image.Image | None = None
    motion_bucket_id: int = 127


@dataclass(frozen=True)
class Latent:
    """Size of images to come, and the images once they are sampled."""

    width_px: int
    height_px: int
    batch_size: int
    images: tuple[Image.Image, ...] = ()


def _set_last_layer(_: NodeContext, *, clip: Model, stop_at_clip_layer: int) -> NodeResult:  # noqa: ARG001 - drawn text has no layers
    return NodeResult((clip,))


def _encode_text(_: NodeContext, *, text: str, clip: Model) -> NodeResult:  # noqa: ARG001 - the text is enough to draw
    return NodeResult((Conditioning(text),))


def _guide_flux(_: NodeContext, *, conditioning: Conditioning, guidance: float) -> NodeResult:  # noqa: ARG001 - drawing has no guidance
    return NodeResult((conditioning,))


def _empty_latent(_: NodeContext, *, width: int, height: int, batch_size: int) -> NodeResult:
    return NodeResult((Latent(width // 8 * 8, height // 8 * 8, batch_size),))


def _condition_video(
    _: NodeContext,
    *,
    clip_vision: Model,  # noqa: ARG001 - every input of the real node is an argument
    init_image: list[Image.Image],
    vae: Model,  # noqa: ARG001
    width: int,
    height: int,
    video_frames: int,
    motion_bucket_id: int,
    fps: int,  # noqa: ARG001
    augmentation_level: float,  # noqa: ARG001
) -> NodeResult:
    positive = Conditioning(init_image=init_image[0], motion_bucket_id=motion_bucket_id)
    latent = Latent(width // 8 * 8, height // 8 * 8, video_frames)
    return NodeResult((positive, replace(positive, init_image=None), latent))


def _guide_video(_: NodeContext, *, model: Model, min_cfg: float) -> NodeResult:  # noqa: ARG001 - motion has no guidance
    return NodeResult((model,))


def _sample(
    context: NodeContext,
    *,
    model: Model,
    seed: int,
    steps: int,
    cfg: float,  # noqa: ARG001 - every input of the real node is an argument
    sampler_name: str,  # noqa: ARG001
    scheduler: str,  # noqa: ARG001
    positive: Conditioning,
    negative: Conditioning,  # noqa: ARG001
    latent_image: Latent,
    denoise: float,
) -> NodeResult:
    context.count_rendered()
    images = _draw(model, seed, positive, latent_image)
    steps_done = max(1, int(steps * denoise)) if denoise < 1 else steps
    noise = _Noise(images[0], seed)
    for step in range(1, steps_done + 1):
        context.wait(context.faults.seconds_per_step)
        preview = noise.preview(step / steps_done) if context.is_watched else None
        context.step(step, steps_done, preview)
    return NodeResult((replace(latent_image, images=images),))


def _draw(
    model: Model, seed: int, positive: Conditioning, latent: Latent
) -> tuple[Image.Image, ...]:
    size = (latent.width_px, latent.height_px)
    if positive.init_image is not None:
        return tuple(
            move(positive.init_image, size, latent.batch_size, seed, positive.motion_bucket_id)
        )
    base = int.from_bytes(hashlib.sha256(model.name.encode()).digest()[:8])
    return tuple(
        draw_portrait(Portrait(*size, seed + index, positive.text, base, model.influences))
        for index in range(latent.batch_size)
    )


class _Noise:
    """Preview images of a sampler: noise that clears into the final image."""

    def __init__(self, image: Image.Image, seed: int) -> None:
        self._image = image.copy()
        self._image.thumbnail((_PREVIEW_SIZE_PX, _PREVIEW_SIZE_PX), Image.Resampling.BOX)
        width, height = (max(1, side // _LATENT_PX) for side in self._image.size)
        noise = random.Random(seed).randbytes(width * height * 3)  # noqa: S311 - pixels, no secret
        small = Image.frombytes("RGB", (width, height), noise)
        self._noise = small.resize(self._image.size, Image.Resampling.NEAREST)

    def preview(self, share: float) -> bytes:
        """Return the JPEG at this share (0 to 1) of the way."""
        buffer = BytesIO()
        Image.blend(self._noise, self._image, share).save(buffer, "JPEG", quality=70)
        return buffer.getvalue()


def _decode(_: NodeContext, *, samples: Latent, vae: Model) -> NodeResult:  # noqa: ARG001 - the sampler drew already
    empty = Image.new("RGB", (samples.width_px, samples.height_px), (127, 127, 127))
    return NodeResult((list(samples.images) or [empty] * samples.batch_size,))


def _load_image(context: NodeContext, *, image: str) -> NodeResult:
    path = context.folders.annotated_path(image)
    with Image.open(path) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
    mask = upright.getchannel("A") if "A" in upright.getbands() else None
    return NodeResult(([upright.convert("RGB")], mask))


def _empty_image(
    _: NodeContext, *, width: int, height: int, batch_size: int, color: int
) -> NodeResult:
    red, green, blue = struct.unpack(">xBBB", color.to_bytes(4))
    return NodeResult(([Image.new("RGB", (width, height), (red, green, blue))] * batch_size,))


_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def _scale_image(
    _: NodeContext,
    *,
    image: list[Image.Image],
    upscale_method: str,
    width: int,
    height: int,
    crop: str,
) -> NodeResult:
    first = image[0]
    width = width or max(1, round(first.width * height / first.height))
    height = height or max(1, round(first.height * width / first.width))
    method = _METHODS[upscale_method]
    if crop == "center":
        return NodeResult(([ImageOps.fit(one, (width, height), method) for one in image],))
    return NodeResult(([one.resize((width, height), method) for one in image],))


def _upscale_image(
    context: NodeContext, *, upscale_model: Model, image: list[Image.Image]
) -> NodeResult:
    named = re.search(r"(\d+)x|x(\d+)", upscale_model.name, re.IGNORECASE)
    factor = int(named[1] or named[2]) if named else 4
    context.count_rendered()
    num_tiles = _num_tiles(image[0].width) * _num_tiles(image[0].height)
    larger = []
    for one in image:
        for tile in range(1, num_tiles + 1):
            context.wait(context.faults.seconds_per_step)
            context.step(tile, num_tiles, None)
        size = (one.width * factor, one.height * factor)
        larger.append(one.resize(size, Image.Resampling.LANCZOS))
        add_simulated_mark(larger[-1])
    return NodeResult((larger,))


def _num_tiles(size_px: int) -> int:
    """Return how many tiles of 512 px, which overlap by 32 px, cover a width or a height."""
    return 1 if size_px <= 512 else math.ceil((size_px - 32) / (512 - 32))  # noqa: PLR2004


def _repeat_images(_: NodeContext, *, image: list[Image.Image], amount: int) -> NodeResult:
    return NodeResult((image * amount,))


NODES: dict[str, Callable[..., NodeResult]] = {
    **MODEL_NODES,
    **SAVE_NODES,
    "CLIPSetLastLayer": _set_last_layer,
    "CLIPTextEncode": _encode_text,
    "FluxGuidance": _guide_flux,
    "EmptyLatentImage": _empty_latent,
    "EmptySD3LatentImage": _empty_latent,
    "KSampler": _sample,
    "VAEDecode": _decode,
    "SVD_img2vid_Conditioning": _condition_video,
    "VideoLinearCFGGuidance": _guide_video,
    "LoadImage": _load_image,
    "EmptyImage": _empty_image,
    "ImageScale": _scale_image,
    "ImageUpscaleWithModel": _upscale_image,
    "RepeatImageBatch": _repeat_images,
}
