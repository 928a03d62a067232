"""Describe the allowed values of an input in an error text, and suggest the nearest one.

File names are listed only for base models, which all tenants share: LoRAs and uploaded images have
the names of other tenants in them.
"""

import re
from collections.abc import Sequence
from typing import Any

from influencerai_dagster.core.names import nearest
from influencerai_dagster.engines.comfyui.templates import MODEL_FILES
from influencerai_dagster.engines.comfyui.tenant_nodes import BASE_MODEL_LOADERS

_SHOWN_CHOICES = 5
_FILE = re.compile(r"[/\\]|\.[A-Za-z]\w{1,11}$")


def describe_choices(node_class: str, value: Any, choices: Sequence[Any]) -> str:  # noqa: ANN401 - any JSON
    """Return what follows "is '…', but": the choices, or that there is no such file."""
    names = [str(choice) for choice in choices]
    if not names:
        found = MODEL_FILES.get(node_class)
        wanted = "such file" if found is None else f"file in {found.folder}"
        return f"may be nothing: the server has no {wanted}"
    if node_class not in BASE_MODEL_LOADERS and any(_FILE.search(name) for name in names):
        return "the server has no such file"
    shown = ", ".join(names[:_SHOWN_CHOICES])
    more = len(names) - _SHOWN_CHOICES
    tail = f" and {more} more" if more > 0 else ""
    return f"may be one of {shown}{tail}{did_you_mean(str(value), names)}"


def did_you_mean(value: str, names: Sequence[str]) -> str:
    """Return ". Did you mean …?" if one of the names is close to a value, otherwise ""."""
    meant = nearest(value, names)
    return "" if meant is None else f". Did you mean {meant}?"
