"""Read and write the header of safetensors files."""

import json
from pathlib import Path
from typing import Any


def read_metadata(path: Path) -> dict[str, Any]:
    """Check a safetensors file and return its `__metadata__`.

    Raises:
        SafetensorError: not a safetensors file; the same class as in ComfyUI.
    """
    return read_header(path)[0]


def read_header(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Check a safetensors file and return its `__metadata__` and the names of its tensors.

    Raises:
        SafetensorError: not a safetensors file; the same class as in ComfyUI.
    """
    from safetensors import safe_open  # noqa: PLC0415 - a start need not wait for numpy

    with safe_open(path, framework="np") as file:
        return dict(file.metadata() or {}), list(file.keys())


def write_placeholder(path: Path, architecture: str) -> None:
    """Write a checkpoint without weights that says SIMULATED; an existing file stays."""
    if path.exists():
        return
    metadata = {"modelspec.architecture": architecture, "modelspec.title": f"SIMULATED {path.stem}"}
    header = json.dumps({"__metadata__": metadata}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
