"""Define the parameters of a LoRA training in kohya's words, and the presets to start from.

The presets follow "Trainers and presets" in docs/protocols/kohya.md, which names the presets of
kohya_ss that they come from.
"""

import math
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.fingerprints import fingerprint

BUCKET_STEP_PX = 64
MIN_RESOLUTION = 128
"""Below, a photo of 3:2 or longer has no bucket: its shorter side would be under one step."""


class BaseModelFamily(StrEnum):
    """The architectures of base models; a LoRA fits only the family it was trained on."""

    SD15 = "sd15"
    SDXL = "sdxl"
    FLUX = "flux"


LearningRate = Annotated[float, Field(gt=0, le=1)]  # Prodigy and D-Adaptation start from 1

_OPTIMIZERS = (
    *("AdamW", "AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit"),
    *("Lion", "Lion8bit", "PagedLion8bit", "SGDNesterov", "SGDNesterov8bit", "Adafactor"),
    *("Prodigy", "DAdaptation", "DAdaptAdamPreprint", "DAdaptAdaGrad", "DAdaptAdam"),
    *("DAdaptAdan", "DAdaptAdanIP", "DAdaptLion", "DAdaptSGD"),
    *("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"),
)


def _known_optimizer(value: str) -> str:
    """Return the name as sd-scripts writes it, which reads it in any case."""
    for name in _OPTIMIZERS:
        if name.lower() == value.lower():
            return name
    raise ValueError(f'"{value}" is not an optimizer of sd-scripts; use {", ".join(_OPTIMIZERS)}')


OptimizerType = Annotated[str, AfterValidator(_known_optimizer)]
"""The optimizers that sd-scripts names itself (`get_optimizer` in its library/train_util.py).

Of any other name it imports the module and calls the class: the author of a config could run any
program.
"""

LrScheduler = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
]
"""Those that need no further option (`get_scheduler_fix`, as above)."""


class LoraConfig(Value):
    """The parameters of one LoRA training; field names are the options of sd-scripts.

    Attributes:
        base_model: file name of the checkpoint below COMFYUI's and kohya's checkpoint folders.
        resolution: training resolution in pixels, the side of a square.
        num_repeats: how often one epoch shows each image.
        max_train_steps: optimizer steps, or None to take `epochs` instead.
        save_every_n_steps: a checkpoint at every so many steps.
        sample_every_n_steps: sample images during training, or None.
    """

    base_model_family: BaseModelFamily
    base_model: Annotated[str, Field(min_length=1, max_length=255)]
    resolution: Annotated[int, Field(ge=MIN_RESOLUTION, le=4096)] = 512
    network_dim: Annotated[int, Field(ge=1, le=512)] = 32
    network_alpha: Annotated[float, Field(gt=0, le=512)] = 16
    learning_rate: LearningRate = 1e-4
    unet_lr: LearningRate | None = None
    text_encoder_lr: LearningRate | None = None
    network_train_unet_only: bool = False
    optimizer_type: OptimizerType = "AdamW8bit"
    lr_scheduler: LrScheduler = "constant"
    train_batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    num_repeats: Annotated[int, Field(ge=1, le=1000)] = 10
    max_train_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    save_every_n_steps: Annotated[int, Field(ge=1)] | None = None
    sample_every_n_steps: Annotated[int, Field(ge=1)] | None = None
    mixed_precision: Literal["no", "fp16", "bf16"] = "bf16"
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    cache_text_encoder_outputs: bool = False
    gradient_checkpointing: bool = True
    blocks_to_swap: Annotated[int, Field(ge=0, le=36)] | None = None
    fp8_base: bool = False
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42

    def override(self, changes: dict[str, Any]) -> "LoraConfig":
        """Return a validated copy with some fields changed.

        Pydantic's ValidationError names a bad one.
        """
        return LoraConfig.model_validate({**self.model_dump(), **changes})

    def rates(self) -> dict[str, float]:
        """Return the learning rates that count, by their options.

        `learning_rate` counts only for a part that has no rate of its own.
        """
        parts = [("unet_lr", self.unet_lr)]
        if not self.network_train_unet_only:
            parts.append(("text_encoder_lr", self.text_encoder_lr))
        own = {name: rate for name, rate in parts if rate is not None}
        return own if len(own) == len(parts) else {"learning_rate": self.learning_rate, **own}

    def version(self) -> str:
        """Return the content hash of all parameters."""
        return fingerprint(self.model_dump(mode="json"))


PRESETS: dict[str, LoraConfig] = {
    "sd15-face": LoraConfig(
        base_model_family=BaseModelFamily.SD15,
        base_model="v1-5-pruned-emaonly.safetensors",
        resolution=512,
        network_dim=64,
        network_alpha=64,
        unet_lr=1e-4,
        text_encoder_lr=5e-5,
        clip_skip=2,
        mixed_precision="fp16",
        max_train_steps=1500,
        save_every_n_steps=250,
        sample_every_n_steps=250,
    ),
    "sdxl-face": LoraConfig(
        base_model_family=BaseModelFamily.SDXL,
        base_model="sd_xl_base_1.0.safetensors",
        resolution=1024,
        network_dim=32,
        network_alpha=16,
        network_train_unet_only=True,
        cache_text_encoder_outputs=True,
        max_train_steps=2000,
        save_every_n_steps=250,
        sample_every_n_steps=250,
    ),
    "flux-face": LoraConfig(
        base_model_family=BaseModelFamily.FLUX,
        base_model="flux1-dev.safetensors",
        resolution=1024,
        network_dim=16,
        network_alpha=16,
        learning_rate=3e-4,
        network_train_unet_only=True,
        cache_text_encoder_outputs=True,
        fp8_base=True,
        max_train_steps=1000,
        save_every_n_steps=250,
        sample_every_n_steps=250,
    ),
}


def bucket_size(width_px: int, height_px: int, resolution: int) -> tuple[int, int] | None:
    """Return the size that kohya trains an image at, or None if it has no bucket for it.

    Follows `BucketManager.select_bucket` of sd-scripts with `bucket_no_upscale`: an image is scaled
    down to resolution² pixels, then cut to whole steps. Where its shorter side is less than one
    step, sd-scripts ends with a ZeroDivisionError that names no file.
    """
    ratio, max_area = width_px / height_px, resolution**2
    if width_px * height_px > max_area:
        width = _whole_steps(math.sqrt(max_area * ratio))
        height = _whole_steps(max_area / math.sqrt(max_area * ratio))
        height_by_width, width_by_height = _whole_steps(width / ratio), _whole_steps(height * ratio)
        if 0 in {height, height_by_width}:
            return None
        if abs(width / height_by_width - ratio) < abs(width_by_height / height - ratio):
            width_px, height_px = width, int(width / ratio + 0.5)
        else:
            width_px, height_px = int(height * ratio + 0.5), height
    width_px -= width_px % BUCKET_STEP_PX
    height_px -= height_px % BUCKET_STEP_PX
    return (width_px, height_px) if width_px and height_px else None


def _whole_steps(size_px: float) -> int:
    return int(size_px + 0.5) // BUCKET_STEP_PX * BUCKET_STEP_PX


def epochs_planned(num_images: int, config: LoraConfig) -> int:
    """Return how many epochs `max_train_steps` takes.

    Steps × batch ÷ (images × repeats), rounded up.
    """
    batches_per_epoch = math.ceil(num_images * config.num_repeats / config.train_batch_size)
    return math.ceil(config.max_train_steps / max(1, batches_per_epoch))


class TrainingStep(Value):
    """One progress report of a running training.

    Attributes:
        step: optimizer steps done.
        total_steps: steps asked for.
        loss: kohya's running mean, may be NaN; None before the first.
        eta_seconds: None while unknown.
    """

    step: int
    total_steps: int
    loss: float | None
    eta_seconds: float | None
