"""Run the nodes that load models and LoRAs; a model is a name, a family and its LoRAs.

Files are really opened: a corrupt one fails here, as it does in ComfyUI, and not in validation.
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from influencerai_dagster.simulators.comfyui.node_values import NodeContext, NodeResult
from influencerai_dagster.simulators.comfyui.safetensors_header import read_header, read_metadata
from influencerai_dagster.simulators.comfyui.traits import Influence

_LORA_BYTES = 1 << 20
_LOOK_SECONDS = 0.02

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint with the LoRAs applied to it."""

    name: str
    family: str
    influences: tuple[Influence, ...] = ()


def _model_path(context: NodeContext, folder: str, name: str) -> Path:
    path = context.folders.model_path(folder, name)
    if path is None:
        raise FileNotFoundError(f"Model in folder '{folder}' with filename '{name}' not found.")
    return path


def _load(context: NodeContext, folder: str, name: str) -> Model:
    path = _model_path(context, folder, name)
    began = time.monotonic()
    while time.monotonic() < began + context.faults.load_seconds:  # which may change meanwhile
        time.sleep(_LOOK_SECONDS)
    metadata, tensors = read_header(path)
    return Model(name, _family_of_model(name, metadata, tensors))


def _family_of_model(name: str, metadata: dict[str, Any], tensors: list[str]) -> str:
    """Tell a model's family by its tensors, as ComfyUI does; a placeholder has only a word."""
    for family, mark in (("flux", "double_blocks."), ("xl", "conditioner.embedders.1.")):
        if any(mark in tensor for tensor in tensors):
            return family
    return "sd" if tensors else _family(str(metadata.get("modelspec.architecture", name)))


def _family(version: str) -> str:
    """Tell the family from a word: an architecture, or kohya's base model version."""
    return next((name for name in ("flux", "xl") if name in version.lower()), "sd")


def _load_checkpoint(context: NodeContext, *, ckpt_name: str) -> NodeResult:
    return NodeResult((_load(context, "checkpoints", ckpt_name),) * 3)


def _load_unet(context: NodeContext, *, unet_name: str, weight_dtype: str) -> NodeResult:  # noqa: ARG001 - drawn images have no weights
    return NodeResult((_load(context, "diffusion_models", unet_name),))


def _load_two_text_encoders(
    context: NodeContext,
    *,
    clip_name1: str,
    clip_name2: str,
    type: str,  # noqa: A002, ARG001 - the real node's input
    device: str = "default",  # noqa: ARG001
) -> NodeResult:
    _load(context, "text_encoders", clip_name1)
    return NodeResult((_load(context, "text_encoders", clip_name2),))


def _load_upscale_model(context: NodeContext, *, model_name: str) -> NodeResult:
    return NodeResult((_load(context, "upscale_models", model_name),))


def _load_vae(context: NodeContext, *, vae_name: str) -> NodeResult:
    return NodeResult((_load(context, "vae", vae_name),))


def _apply_lora(context: NodeContext, model: Model, lora_name: str, strength: float) -> Model:
    path = _model_path(context, "loras", lora_name)
    metadata = read_metadata(path)
    base = str(metadata.get("ss_base_model_version", ""))
    if base and _family(base) != model.family:
        log.warning(
            "lora key not loaded: %s was trained on %s, not on %s", lora_name, base, model.name
        )
        return model
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_LORA_BYTES)).digest()
    influence = Influence(int.from_bytes(digest[:8]), strength, _captions(metadata))
    return replace(model, influences=(*model.influences, influence))


def _captions(metadata: dict[str, Any]) -> str:
    """Return the words of a LoRA's captions, the most frequent first, as kohya records them."""
    folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
    counts = Counter[str]()
    for tags in folders.values():
        counts.update(tags)
    return ", ".join(tag for tag, _ in counts.most_common())


def _load_lora(
    context: NodeContext,
    *,
    model: Model,
    lora_name: str,
    strength_model: float,
    clip: Model | None = None,
    strength_clip: float = 0.0,
) -> NodeResult:
    if strength_model == 0 and strength_clip == 0:
        return NodeResult((model, clip))
    changed = _apply_lora(context, model, lora_name, strength_model)
    return NodeResult((changed, clip))


MODEL_NODES: dict[str, Callable[..., NodeResult]] = {
    "CheckpointLoaderSimple": _load_checkpoint,
    "ImageOnlyCheckpointLoader": _load_checkpoint,
    "UNETLoader": _load_unet,
    "DualCLIPLoader": _load_two_text_encoders,
    "VAELoader": _load_vae,
    "UpscaleModelLoader": _load_upscale_model,
    "LoraLoader": _load_lora,
    "LoraLoaderModelOnly": _load_lora,
}
