"""Putting LoRAs between a workflow's base model and everything that uses it."""

from typing import Any

from influencerai_dagster.core.sampling import LoraUse
from influencerai_dagster.engines.comfyui.graph import Link, as_link


def insert_loras(
    workflow: dict[str, Any], loras: tuple[LoraUse, ...], *, model: Link, clip: Link
) -> None:
    """Chain LoraLoaders behind the base model, and feed everything it fed from the last of them.

    Args:
        workflow: changed in place.
        loras: in the order in which they are applied; none leaves the workflow as it is.
        model: the base model's output.
        clip: the text encoder's output.
    """
    last_model, last_clip = model, clip
    added: dict[str, Any] = {}
    for lora in loras:
        node_id = _free_id(workflow, added)
        added[node_id] = {
            "class_type": "LoraLoader",
            "inputs": {
                "model": list(last_model),
                "clip": list(last_clip),
                "lora_name": lora.lora_name,
                "strength_model": float(lora.strength_model),
                "strength_clip": float(lora.strength_clip),
            },
        }
        last_model, last_clip = (node_id, 0), (node_id, 1)
    replaced = {model: last_model, clip: last_clip}
    for node in workflow.values():
        for name, value in node["inputs"].items():
            link = as_link(value)
            if link in replaced:
                node["inputs"][name] = list(replaced[link])
    workflow.update(added)


def _free_id(workflow: dict[str, Any], added: dict[str, Any]) -> str:
    number = len(added) + 1
    while (node_id := f"lora{number}") in workflow or node_id in added:
        number += 1
    return node_id
