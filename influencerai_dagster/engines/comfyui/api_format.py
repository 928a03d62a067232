"""Read a workflow in ComfyUI's API format: JSON of nodes, each with its class and its inputs.

What the nodes are for lives in templates.py, whether a tenant may use them in template_checks.py.
"""

import json
from collections.abc import Collection
from typing import Any, NoReturn

from influencerai_dagster.engines.comfyui.graph import refused

MAX_TEMPLATE_BYTES = 1024**2
MAX_NODES = 500
_MAX_DEPTH = 20  # a link is at depth 4


def read_nodes(name: str, content: str | bytes) -> dict[str, Any]:
    """Return the nodes of a workflow, id → {"class_type": …, "inputs": {…}}.

    Args:
        name: the template's, for error texts.
        content: a workflow in ComfyUI's API format.

    Raises:
        PermanentError: it is too large, not JSON, or in another format.
    """
    workflow = _load(name, content)
    if not isinstance(workflow, dict) or not workflow:
        raise refused(name, "it is not an object of nodes")
    if isinstance(workflow.get("nodes"), list):
        raise refused(
            name, "it is in the format of ComfyUI's editor; export it there with 'Export (API)'"
        )
    if len(workflow) > MAX_NODES:
        raise refused(name, f"it has {len(workflow)} nodes; at most {MAX_NODES} are used")
    for node_id, node in workflow.items():
        match node:
            case {"class_type": str(), "inputs": dict()}:
                continue
        raise refused(name, f"node {node_id[:40]!r} has no class_type or no inputs (API format)")
    return workflow


def _load(name: str, content: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    if len(content) > MAX_TEMPLATE_BYTES:
        raise refused(name, f"it has {len(content)} bytes; at most {MAX_TEMPLATE_BYTES} are read")
    try:
        text = content if isinstance(content, str) else content.decode()
        workflow = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise refused(name, "it is nested too deeply") from error
    except ValueError as error:
        raise refused(name, f"it is not JSON in UTF-8 ({error})") from error
    level = [workflow]
    for _ in range(_MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
    if level:
        raise refused(name, f"it is nested too deeply: at most {_MAX_DEPTH} levels are read")
    return workflow


def _items(value: Any) -> Collection[Any]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
