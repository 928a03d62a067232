"""Install LoRA files in ComfyUI's folder, which all tenants share, and refuse those of others.

What is rendered with them lives in generation/render/images.py, generation/render/videos.py and
generation/render/lora_samples.py.
"""

import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.object_paths import lora_key
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.files import give_readers_of
from influencerai_dagster.media.base_models import find_base_model
from influencerai_dagster.media.lora_fit import lora_fit
from influencerai_dagster.media.safetensors_files import (
    SafetensorsHeader,
    check_lora_fits,
    file_sha256,
    read_header,
)
from influencerai_dagster.storage.object_store import WriteOnceStore

_log = logging.getLogger(__name__)

_TRAINED = re.compile(r"-[0-9a-f]{12}$")
"""How the id of a LoRA ends that was trained here (training/loras.py)."""


def install_lora(store: WriteOnceStore, lora: LoraManifest, lora_dir: Path | None) -> str:
    """Install a LoRA in ComfyUI's folder, checked by hash and family; return its lora_name.

    Raises:
        PermanentError: COMFYUI_LORA_DIR is not set, or the file on S3 is not what was trained.
    """
    if lora_dir is None:
        raise PermanentError(
            "COMFYUI_LORA_DIR is not set: set it to ComfyUI's models/loras folder as this process "
            "sees it, so that LoRA files can be installed there."
        )
    name = lora_key(lora.tenant, lora.lora_id).removeprefix("loras/")
    path = lora_dir / name
    weights = StoredFile(
        object_key=lora.weights_key, sha256=lora.weights_sha256, size_bytes=lora.weights_size_bytes
    )
    if not path.is_file() or file_sha256(path) != lora.weights_sha256:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(lora.weights_key, path, expected=weights)
        # ComfyUI may be another user, and the stack's own files are for its owner alone.
        give_readers_of(lora_dir, path.parent, path)
    check_lora_fits(read_header(path), lora.base_model_family)
    return name


def check_lora_applies(lora_dir: Path, lora_name: str, base_model: str) -> None:
    """Refuse a LoRA most of which ComfyUI would leave out and still report a success.

    Where the base model's file cannot be read here (another machine, another format), nothing is
    checked. A LoRA that mostly fits is logged with what is left out.

    Args:
        lora_dir: ComfyUI's models/loras folder; base models are beside it.
        lora_name: as `install_lora` returned it.
        base_model: its file name.

    Raises:
        PermanentError: most of it does not fit; the text has the numbers.
    """
    try:
        base = _header(find_base_model(lora_dir.parent, base_model))
    except PermanentError:
        return
    fit = lora_fit(_header(lora_dir / lora_name), base)
    if fit is None or not fit.num_left_out:
        return
    found = (
        f"LoRA {lora_name} does not fit base model {base_model}: of its {fit.num_modules} modules "
        f"{fit.num_missing} are not in the base model, and {fit.num_misshapen} have another shape "
        "there. ComfyUI leaves these out"
    )
    if 2 * fit.num_left_out <= fit.num_modules:
        _log.warning("%s.", found)
        return
    raise PermanentError(f"{found}. Choose the base model that it was trained on, or another LoRA.")


def _header(path: Path) -> SafetensorsHeader:
    stat = path.stat()
    return _cached_header(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=32)
def _cached_header(path: Path, _modified_ns: int, _size_bytes: int) -> SafetensorsHeader:
    return read_header(path)


def refuse_foreign_loras(
    workflow: Mapping[str, Any], *, on_server: Iterable[str], own: Collection[str]
) -> None:
    """Refuse a workflow that names a LoRA file of the server which is not the job's.

    All tenants' LoRA files are in one folder. The classes of nodes that a tenant may use read none
    by name; this is for those that COMFYUI_TENANT_NODES adds. So it is the values that are looked
    at, however deep, for anything that a node could make such a name of.

    Args:
        workflow: filled, with the job's LoRAs in it.
        on_server: all LoRA files of the server, as loaders take them.
        own: those of the job.

    Raises:
        PermanentError: names the node.
    """
    needles = {needle for name in set(on_server) - set(own) for needle in _needles(name)}
    own_names = {_normal(name) for name in own}
    texts = {
        node_id: [text for text in map(_normal, _strings(node)) if text not in own_names]
        for node_id, node in workflow.items()
    }
    everything = "\n".join(text for found in texts.values() for text in found)
    hits = [needle for needle in needles if needle in everything]
    for node_id, found in texts.items():
        if any(needle in text for needle in hits for text in found):
            raise PermanentError(
                f"node {node_id[:40]} ({workflow[node_id]['class_type'][:80]}) names a LoRA file "
                "that is not the job's: a template names none, the job's `loras` are put in where "
                "they belong"
            )


def _needles(name: str) -> Iterator[str]:
    """Yield the texts that name a LoRA file: its path, its name, and the id of a trained one."""
    path = PurePosixPath(_normal(name))
    yield path.name
    if path.parent.name:
        yield f"{path.parent.name}/{path.stem}"
    if _TRAINED.search(path.stem):
        yield path.stem


def _normal(text: str) -> str:
    """Return a text in which all spellings of a path are equal."""
    parts: list[str] = []
    for part in unicodedata.normalize("NFKC", text).casefold().replace("\\", "/").split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Return every text in a value, keys too, however deep it is nested."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as fields:
                waiting += [*fields.keys(), *fields.values()]
            case list() as items:
                waiting += items
