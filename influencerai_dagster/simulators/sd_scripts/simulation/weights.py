"""Write a valid LoRA file: kohya's key names and shapes, few modules, numbers drawn by seed.

The format is safetensors': the length of a JSON header, the header, the bytes of the tensors. It is
written without numpy, whose import would take longer than the whole simulated training.
"""

import hashlib
import json
import random
import struct
from array import array
from pathlib import Path

# name: (in_features, out_features), the smallest of the real ones
_UNET_MODULES = {
    "train_network": {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (768, 320),
    },
    "sdxl_train_network": {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (640, 640),
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (2048, 640),
    },
    "flux_train_network": {
        "lora_unet_double_blocks_0_img_attn_proj": (3072, 3072),
        "lora_unet_single_blocks_0_modulation_lin": (3072, 9216),
    },
}
_TEXT_ENCODER_MODULES = {
    "train_network": {"lora_te_text_model_encoder_layers_0_self_attn_q_proj": (768, 768)},
    "sdxl_train_network": {
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
        "lora_te2_text_model_encoder_layers_0_self_attn_q_proj": (1280, 1280),
    },
    "flux_train_network": {"lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (768, 768)},
}
_DTYPES = {None: "F32", "float": "F32", "fp16": "F16", "bf16": "BF16"}
_SPREAD = 0.01


def lora_bytes(
    trainer: str,
    *,
    network_dim: int,
    network_alpha: float,
    is_unet_only: bool,
    save_precision: str | None,
    seed: int,
    is_nan: bool,
    metadata: dict[str, str],
) -> bytes:
    """Return a LoRA file for the family of one trainer."""
    modules = dict(_UNET_MODULES[trainer])
    if not is_unet_only:
        modules |= _TEXT_ENCODER_MODULES[trainer]
    tensors: dict[str, tuple[list[int], list[float]]] = {}
    pattern = _pattern(seed, is_nan=is_nan)
    for name, (in_features, out_features) in modules.items():
        tensors[f"{name}.alpha"] = ([], [network_alpha])
        tensors[f"{name}.lora_down.weight"] = ([network_dim, in_features], pattern)
        tensors[f"{name}.lora_up.weight"] = ([out_features, network_dim], pattern)
    dtype = _DTYPES[save_precision]
    header: dict[str, object] = {}
    data = bytearray()
    for name in sorted(tensors):
        shape, values = tensors[name]
        start = len(data)
        data += _repeated(_packed(values, dtype), len(values), shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, len(data)]}
    digest = hashlib.sha256(data).hexdigest()
    header["__metadata__"] = {**metadata, "sshs_model_hash": digest, "sshs_legacy_hash": digest[:8]}
    return safetensors_bytes(header, bytes(data))


def safetensors_bytes(header: dict[str, object], data: bytes) -> bytes:
    """Return a safetensors file."""
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write_lora(path: Path, content: bytes) -> None:
    """Write straight to the final name, as kohya does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _pattern(seed: int, *, is_nan: bool) -> list[float]:
    numbers = random.Random(seed)  # noqa: S311 - no secret
    pattern = [numbers.gauss(0, _SPREAD) for _ in range(1024)]
    if is_nan:
        pattern[0] = float("nan")
    return pattern


def _packed(values: list[float], dtype: str) -> bytes:
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    floats = array("f", values).tobytes()
    if dtype == "F32":
        return floats
    return b"".join(floats[index + 2 : index + 4] for index in range(0, len(floats), 4))


def _repeated(packed: bytes, num_values: int, shape: list[int]) -> bytes:
    needed = 1
    for side in shape:
        needed *= side
    size = len(packed) // num_values * needed
    return (packed * (size // len(packed) + 1))[:size]
