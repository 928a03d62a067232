"""LoRA files in ComfyUI's folder, which all tenants share: brought there, and kept from others.

What is rendered with them lives in stages/images.py, stages/videos.py and stages/lora_samples.py.
"""

from pathlib import Path
from typing import Any

from influencerai_dagster.domain.manifests.loras import LoraManifest
from influencerai_dagster.domain.manifests.outputs import StoredFile
from influencerai_dagster.domain.object_paths import lora_key
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.safetensors_files import (
    check_lora_fits,
    file_sha256,
    read_header,
)
from influencerai_dagster.storage.object_store import ObjectStore


def place_lora(store: ObjectStore, lora: LoraManifest, lora_dir: Path | None) -> str:
    """Bring a LoRA into ComfyUI's folder, checked by hash and family; return its lora_name.

    Raises:
        PermanentError: COMFYUI_LORA_DIR is not set, or the file on S3 is not what was trained.
    """
    if lora_dir is None:
        raise PermanentError(
            "COMFYUI_LORA_DIR is not set: set it to ComfyUI's models/loras folder as this process "
            "sees it, so that LoRA files can be placed there."
        )
    name = lora_key(lora.tenant, lora.lora_id).removeprefix("loras/")
    path = lora_dir / name
    weights = StoredFile(
        object_key=lora.weights_key, sha256=lora.weights_sha256, size_bytes=lora.weights_size_bytes
    )
    if not path.is_file() or file_sha256(path) != lora.weights_sha256:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(lora.weights_key, path, expected=weights)
    check_lora_fits(read_header(path), lora.base_model_family)
    return name


def refuse_foreign_loras(workflow: dict[str, Any], foreign: frozenset[str]) -> None:
    """Refuse a workflow that names a LoRA file of the server which is not the job's.

    All tenants' LoRA files are in one folder. A tenant's own template may have nodes that nobody
    here knows, so it is the value that is looked at and not the node.

    Raises:
        PermanentError: names the node.
    """
    for node_id, node in workflow.items():
        for name, value in node.get("inputs", {}).items():
            if isinstance(value, str) and value in foreign:
                raise PermanentError(
                    f"node {node_id} ({node.get('class_type')}) names a LoRA file in {name}: a "
                    "template names none, the job's `loras` are put in where they belong"
                )
