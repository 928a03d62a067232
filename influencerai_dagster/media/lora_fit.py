"""Count the modules of a LoRA that a base model has, by names and shapes in the two headers.

ComfyUI leaves out what does not fit, says so in its own log only, and reports success. Follows the
key names of kohya sd-scripts (networks/lora.py: diffusers' names for SD 1.5, the checkpoint's own
for SDXL and FLUX) and of the checkpoints of Stability AI and Black Forest Labs.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from influencerai_dagster.media.safetensors_files import SafetensorsHeader

_MIN_WEIGHTS = 100
"""A model has hundreds; of fewer nothing can be said."""

_DOWN = re.compile(r"^lora_(?P<part>unet|te1?)_(?P<name>.+)\.lora_down\.weight$")
_BASE_PARTS = {
    "model.diffusion_model.": "unet",
    "cond_stage_model.transformer.": "te",
    "conditioner.embedders.0.transformer.": "te1",
    "double_blocks.": "unet",
    "single_blocks.": "unet",
}
_RESNET_LAYERS = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_LEVELS = re.compile(
    r"^(?P<side>down|up)_blocks_(?P<level>\d+)_"
    r"(?P<kind>attentions|resnets|downsamplers|upsamplers)_(?P<number>\d+)_(?P<rest>.+)$"
)
_MIDDLE = re.compile(r"^mid_block_(?P<kind>attentions|resnets)_(?P<number>\d+)_(?P<rest>.+)$")
_DOWNSAMPLER = re.compile(r"^input_blocks_(\d+)_0_op$")
_BLOCKS_A_LEVEL = 3
"""Of SD 1.5's U-Net; distilled ones have fewer."""


@dataclass(frozen=True, slots=True)
class LoraFit:
    """What a base model takes of a LoRA.

    Attributes:
        num_modules: modules of the LoRA for parts that the base model's file holds.
        num_missing: of these, how many the base model does not have.
        num_misshapen: of these, how many it has in another shape.
    """

    num_modules: int
    num_missing: int
    num_misshapen: int

    @property
    def num_left_out(self) -> int:
        """How many ComfyUI would leave out."""
        return self.num_missing + self.num_misshapen


def lora_fit(lora: SafetensorsHeader, base: SafetensorsHeader) -> LoraFit | None:
    """Compare a LoRA of kohya's with a base model.

    Returns:
        None if the names in either file are not those that are known here. Text encoders that the
        file of the base model does not hold, and the second one of SDXL, are not counted.
    """
    weights = _weights(base)
    parts = Counter(part for part, _ in weights)
    if parts["unet"] < _MIN_WEIGHTS:
        return None
    blocks_a_level = _blocks_a_level(name for part, name in weights if part == "unet")
    num_modules = num_missing = num_misshapen = 0
    for key, down in lora.tensors.items():
        found = _DOWN.match(key)
        up = lora.tensors.get(key.replace(".lora_down.", ".lora_up."))
        if found is None or up is None or not parts[found["part"]]:
            continue
        num_modules += 1
        wanted = (up.shape[0], math.prod(down.shape[1:]))
        name = _checkpoint_name(found["name"], blocks_a_level)
        shape = weights.get((found["part"], name))
        if shape is None:
            num_missing += 1
        elif (shape[0], math.prod(shape[1:])) != wanted:
            num_misshapen += 1
    return LoraFit(num_modules, num_missing, num_misshapen) if num_modules else None


def _weights(base: SafetensorsHeader) -> Mapping[tuple[str, str], tuple[int, ...]]:
    """Return the shapes of a base model's weights by part and name, as kohya writes names."""
    found = {}
    for key, tensor in base.tensors.items():
        prefix = next((prefix for prefix in _BASE_PARTS if key.startswith(prefix)), None)
        if prefix is not None and key.endswith(".weight") and len(tensor.shape) > 1:
            part = _BASE_PARTS[prefix]
            name = key.removeprefix(prefix) if prefix.endswith(("model.", "former.")) else key
            if part != "unet" and not name.startswith("text_model."):
                name = f"text_model.{name}"
            found[part, name.removesuffix(".weight").replace(".", "_")] = tensor.shape
    return found


def _blocks_a_level(names: Iterable[str]) -> int:
    """Return how many blocks each level of a U-Net has: the first downsampler ends the first."""
    found = [int(match[1]) for name in names if (match := _DOWNSAMPLER.match(name))]
    return min(found, default=_BLOCKS_A_LEVEL)


def _checkpoint_name(name: str, blocks_a_level: int) -> str:
    """Return the checkpoint's name for diffusers' name of a layer of SD 1.5's U-Net."""
    if found := _MIDDLE.match(name):
        is_resnet = found["kind"] == "resnets"
        number = 2 * int(found["number"]) if is_resnet else 1
        return f"middle_block_{number}_{_layer(found['rest'])}"
    found = _LEVELS.match(name)
    if found is None:
        return name
    level, kind, rest = int(found["level"]), found["kind"], found["rest"]
    if kind == "downsamplers":
        return f"input_blocks_{blocks_a_level * (level + 1)}_0_op"
    if kind == "upsamplers":  # the lowest level has no attention before it
        last = blocks_a_level * (level + 1) - 1
        return f"output_blocks_{last}_{2 if level else 1}_{rest}"
    number = blocks_a_level * level + int(found["number"])
    block = f"input_blocks_{number + 1}" if found["side"] == "down" else f"output_blocks_{number}"
    return f"{block}_{0 if kind == 'resnets' else 1}_{_layer(rest)}"


def _layer(name: str) -> str:
    return _RESNET_LAYERS.get(name, name)
