"""Define the parameters of an image or a video, in ComfyUI's words.

generation/jobs.py has the payload of a job, with its tenant.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from influencerai_dagster.core.base import Value

NUM_DRAWN_SEEDS = 2**53
"""A seed that is drawn here fits into a double: some JSON readers have no other numbers."""

Strength = Annotated[float, Field(ge=-10, le=10)]


class LoraUse(Value):
    """One LoRA file as ComfyUI's LoraLoader takes it.

    Attributes:
        lora_name: path below ComfyUI's loras folder, for example `demo/lora1.safetensors`.
    """

    lora_name: str
    strength_model: Strength = 1.0
    strength_clip: Strength = 1.0


class ImageSampling(Value):
    """Parameters of one text-to-image workflow.

    Attributes:
        seed: 0 to 2**64 − 1, as ComfyUI's KSampler.
        width_px: multiple of 8; ComfyUI takes 16 to 16384.
        denoise: 1.0 for text to image.
    """

    prompt: Annotated[str, Field(min_length=1, max_length=8000)]
    negative_prompt: Annotated[str, Field(max_length=8000)] = ""
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)]
    steps: Annotated[int, Field(ge=1, le=200)] = 25
    cfg: Annotated[float, Field(ge=0, le=100)] = 7.0
    sampler_name: str = "dpmpp_2m"
    scheduler: str = "karras"
    denoise: Annotated[float, Field(gt=0, le=1)] = 1.0
    width_px: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] = 512
    height_px: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] = 512
    base_model: Annotated[str, Field(min_length=1, max_length=255)]
    loras: tuple[LoraUse, ...] = ()


class VideoSampling(Value):
    """Parameters of one image-to-video workflow (Stable Video Diffusion, core nodes).

    Attributes:
        num_frames: frames to make; SVD makes 14 or 25 at its best.
        motion_bucket_id: 1 to 1023, more is more motion.
        augmentation_level: noise added to the first frame, 0 to 10.
    """

    seed: Annotated[int, Field(ge=0, le=2**64 - 1)]
    steps: Annotated[int, Field(ge=1, le=200)] = 20
    cfg: Annotated[float, Field(ge=0, le=100)] = 2.5
    min_cfg: Annotated[float, Field(ge=0, le=100)] = 1.0
    sampler_name: str = "euler"
    scheduler: str = "karras"
    width_px: Annotated[int, Field(ge=64, le=2048, multiple_of=8)] = 576
    height_px: Annotated[int, Field(ge=64, le=2048, multiple_of=8)] = 1024
    num_frames: Annotated[int, Field(ge=2, le=1000)] = 25
    fps: Annotated[int, Field(ge=1, le=60)] = 6
    motion_bucket_id: Annotated[int, Field(ge=1, le=1023)] = 127
    augmentation_level: Annotated[float, Field(ge=0, le=10)] = 0.0
    base_model: Annotated[str, Field(min_length=1, max_length=255)] = "svd_xt.safetensors"


class UpscaleSampling(Value):
    """Parameters of one upscale workflow: an image becomes larger.

    Attributes:
        upscale_model: path below ComfyUI's models/upscale_models folder.
        source_width_px, source_height_px: size of the image before.
    """

    upscale_model: Annotated[str, Field(min_length=1, max_length=255)] = "RealESRGAN_x4plus.pth"
    source_width_px: int
    source_height_px: int


Sampling: TypeAlias = ImageSampling | VideoSampling | UpscaleSampling
"""Parameters of an output, whatever its kind."""

AspectRatio = Literal["9:16", "4:5", "1:1", "16:9"]


class VideoFormat(Value):
    """What ffmpeg makes of a video: size in pixels and frames a second of the MP4.

    Attributes:
        max_duration_seconds: what the platform takes; None for no limit.
    """

    width_px: int
    height_px: int
    fps: int
    max_duration_seconds: float | None = None


VIDEO_FORMATS: dict[AspectRatio, VideoFormat] = {
    "9:16": VideoFormat(width_px=1080, height_px=1920, fps=30),
    "4:5": VideoFormat(width_px=1080, height_px=1350, fps=30),
    "1:1": VideoFormat(width_px=1080, height_px=1080, fps=30),
    "16:9": VideoFormat(width_px=1920, height_px=1080, fps=30),
}
