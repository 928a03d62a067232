"""Read the header of a .safetensors file: metadata, tensor names and shapes, model family.

Tensors are never loaded. Follows the safetensors format description and the key names of kohya
sd-scripts (networks/lora.py, networks/lora_flux.py), diffusers and PEFT.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.errors import PermanentError

# The family follows from the width of the text encoder's output that the U-Net attends to.
_FAMILY_BY_CONTEXT_DIM = {768: BaseModelFamily.SD15, 2048: BaseModelFamily.SDXL}
_LORA_CONTEXT_KEY = re.compile(
    r"attn2[._]to_[kv]\."
    r"(lora_down\.weight|lora\.down\.weight|lora_A(\.default)?\.weight|hada_w[12]_b)$"
)
_BASE_CONTEXT_KEY = re.compile(r"attn2\.to_[kv]\.weight$")
_FLUX_KEY = re.compile(r"(^|[._])(double_blocks|single_transformer_blocks)[._]\d")
# HunyuanVideo has double_blocks too.
_NOT_FLUX_KEY = re.compile(r"individual_token_refiner|txt_in[._]c_embedder")
_LORA_KEY = re.compile(r"lora_(down|up|A|B)\b|\.lora\.(down|up)\.|hada_w[12]_[ab]$")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: dtype in the format's words ("F16", "BF16", "F32"), shape as stored."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a file says of itself; `name` is the file's, for error texts."""

    name: str
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]


def read_header(path: Path) -> SafetensorsHeader:
    """Read and validate the header; the library checks lengths and offsets against the file.

    Raises:
        PermanentError: not a safetensors file, truncated, or with an impossible header.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - imports numpy (0.2 s)

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            tensors = {
                key: TensorInfo(str(part.get_dtype()), tuple(part.get_shape()))
                for key, part in slices.items()
            }
            return SafetensorsHeader(path.name, dict(file.metadata() or {}), tensors)
    except (SafetensorError, OSError) as error:
        raise PermanentError(
            f"{path.name} is not a whole safetensors file: {error}; write or download it again"
        ) from error


def lora_family(lora: Path | SafetensorsHeader) -> BaseModelFamily:
    """Return the family of base models that a LoRA fits, from its keys and shapes.

    Raises:
        PermanentError: it is not a LoRA, or one of another architecture.
    """
    header = read_header(lora) if isinstance(lora, Path) else lora
    if not any(_LORA_KEY.search(key) for key in header.tensors):
        raise PermanentError(
            f"{header.name} has no LoRA weights among its tensors; {_some(header)}"
        )
    family = _family(header, _LORA_CONTEXT_KEY)
    if family is None and any(key.startswith("lora_te2_") for key in header.tensors):
        family = BaseModelFamily.SDXL  # trained on the text encoders only
    if family is None:
        raise PermanentError(
            f"{header.name} is a LoRA of an architecture that is not supported "
            f"(SD1.5, SDXL and FLUX are); {_some(header)}"
        )
    return family


def base_model_family(path: Path) -> BaseModelFamily:
    """Return the family of a base model, a full checkpoint or a U-Net alone.

    Raises:
        PermanentError: unreadable, or another architecture.
    """
    header = read_header(path)
    family = _family(header, _BASE_CONTEXT_KEY)
    if family is None:
        raise PermanentError(
            f"{header.name} is not an SD1.5, SDXL or FLUX base model; {_some(header)}"
        )
    return family


def check_lora_fits(lora: SafetensorsHeader, family: BaseModelFamily) -> None:
    """Refuse a LoRA that was trained on another family than the base model's.

    Raises:
        PermanentError: the families differ; the text has both.
    """
    trained_on = lora_family(lora)
    if trained_on is not family:
        raise PermanentError(
            f"{lora.name} is a LoRA for {trained_on.value} and does not fit a base model of "
            f"{family.value}; choose a {trained_on.value} base model or another LoRA"
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _family(header: SafetensorsHeader, context_key: re.Pattern[str]) -> BaseModelFamily | None:
    keys = header.tensors
    if any(_FLUX_KEY.search(key) for key in keys):
        is_other = any(_NOT_FLUX_KEY.search(key) for key in keys)
        return None if is_other else BaseModelFamily.FLUX
    for key, tensor in keys.items():
        if context_key.search(key) and len(tensor.shape) > 1:
            return _FAMILY_BY_CONTEXT_DIM.get(tensor.shape[1])
    return None


def _some(header: SafetensorsHeader) -> str:
    keys = sorted(header.tensors)[:3]
    return f"its tensors begin with {', '.join(keys) or 'nothing'}"
