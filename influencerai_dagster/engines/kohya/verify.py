"""Verify that a training worked; its exit code alone does not show it.

Source: docs/protocols/kohya.md, point 4. Weights are valid if the file opens, has no NaN or
infinity, has the `ss_steps` that were asked for and a `ss_tag_frequency`, and is newer than the
start of the training. The format is that of safetensors: a length, a JSON header, the bytes.
"""

import json
import struct
from pathlib import Path
from typing import Any

from influencerai_dagster.errors import PermanentError

# dtype: (bits of one value as a numpy type, the exponent's bits). All ones is NaN or infinity.
_EXPONENTS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_CLOCK_TOLERANCE_SECONDS = 2.0


def verified_metadata(path: Path, *, steps: int, started_at: float) -> dict[str, str]:
    """Verify the weights of a training and return their metadata.

    Args:
        path: where kohya writes the final weights.
        steps: optimizer steps that were asked for.
        started_at: seconds since 1970 when the training started.

    Raises:
        PermanentError: the file is missing, broken, old, not trained, or has NaN; the text says
            which.
    """
    if not path.is_file():
        text = f"kohya ended without an error but left no weights at {path}: nothing was trained"
        raise PermanentError(text)
    if path.stat().st_mtime < started_at - _CLOCK_TOLERANCE_SECONDS:
        raise PermanentError(f"the weights {path} are older than the training: nothing was saved")
    metadata = _opened_metadata(path)
    if metadata.get("ss_steps") != str(steps):
        found = metadata.get("ss_steps", "none")
        text = f"the weights {path} say ss_steps {found}, and {steps} were asked for: train again"
        raise PermanentError(text)
    if not _has_tags(metadata.get("ss_tag_frequency", "")):
        text = (
            f"the weights {path} were trained without captions (ss_tag_frequency is empty): every"
            " image needs a .txt file beside it"
        )
        raise PermanentError(text)
    _check_values(path)
    return metadata


def _opened_metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - imports numpy

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            has_lora = any(name.endswith(".lora_down.weight") for name in file.keys())  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        text = (
            f"the weights {path} ({path.stat().st_size} bytes) do not open: {error}; the disk may"
            " have been full, free space and train again"
        )
        raise PermanentError(text) from error
    if not has_lora:
        raise PermanentError(
            f"the weights {path} hold no LoRA: no tensor is named .lora_down.weight"
        )
    return metadata


def _has_tags(tag_frequency: str) -> bool:
    try:
        folders = json.loads(tag_frequency)
    except ValueError:
        return False
    return isinstance(folders, dict) and any(folders.values())


def _check_values(path: Path) -> None:
    import numpy as np  # noqa: PLC0415 - 0.3 s

    header, data_offset = _header(path)
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=data_offset)
    for name, tensor in header.items():
        if tensor["dtype"] not in _EXPONENTS:
            text = f"tensor {name} of {path} has the type {tensor['dtype']}: a LoRA has floats"
            raise PermanentError(text)
        bits_type, exponent = _EXPONENTS[tensor["dtype"]]
        start, end = tensor["data_offsets"]
        bits = data[start:end].tobytes()
        values = np.frombuffer(bits, dtype=bits_type)
        if ((values & exponent) == exponent).any():
            text = (
                f"tensor {name} of {path} has NaN or infinity: lower learning_rate, or train with"
                " mixed_precision bf16 instead of fp16"
            )
            raise PermanentError(text)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensors' entries and where their bytes start; the file was opened before."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length
