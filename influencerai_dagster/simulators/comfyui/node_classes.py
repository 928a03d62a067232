"""Describe the node classes as /object_info shows them; nodes.py runs them.

`node_classes.json` holds one /object_info entry per class: names, types, defaults and ranges are
those of ComfyUI 0.3.64, so that the same workflow validates here and there; descriptions are our
own. `"folder:checkpoints"` in the place of choices means the files of that folder as they are now.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from influencerai_dagster.simulators.comfyui.folders import Folders

_FOLDER = "folder:"


@cache
def node_classes() -> dict[str, dict[str, Any]]:
    """Return the stored entry of every class by its name; not to be changed."""
    classes: dict[str, dict[str, Any]] = json.loads(
        Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    )
    return classes


def input_config(config: list[Any], folders: Folders) -> list[Any]:
    """Return an input's `[type or choices, options]` with the files of its folder as choices."""
    kind = config[0]
    if not isinstance(kind, str) or not kind.startswith(_FOLDER):
        return config
    folder = kind.removeprefix(_FOLDER)
    choices = folders.input_images() if folder == "input" else folders.model_names(folder)
    return [choices, *config[1:]]


def object_info(name: str, folders: Folders) -> dict[str, Any]:
    """Return one class's entry of /object_info with the choices of this moment."""
    stored = node_classes()[name]
    inputs = {
        group: specs
        if group == "hidden"
        else {key: input_config(config, folders) for key, config in specs.items()}
        for group, specs in stored["input"].items()
    }
    return {**stored, "input": inputs}
