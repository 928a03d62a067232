"""Check whether a server can run a workflow, before it is sent; report all problems at once.

Stricter than the server in two points: choices of the newer schema style, which it checks only
while running, and values of the wrong type, which it coerces (docs/protocols/comfyui.md, points
5 to 7).
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from influencerai_dagster.engines.comfyui.choices import describe_choices
from influencerai_dagster.engines.comfyui.graph import as_link, links_of
from influencerai_dagster.engines.comfyui.object_info import COMBO, InputSpec, NodeClass, ObjectInfo
from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.values import Workflow

_SHOWN_PROBLEMS = 20
_LITERAL_TYPES: dict[str, tuple[type, ...]] = {
    "INT": (int,),
    "FLOAT": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
}
_LINK_TYPES = frozenset(
    (
        *("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CLIP_VISION"),
        *("CONTROL_NET", "VIDEO", "AUDIO", "NOISE", "GUIDER", "SAMPLER", "SIGMAS"),
    )
)


def validate_workflow(workflow: Workflow, object_info: ObjectInfo) -> None:
    """Check a filled workflow against a server's node classes.

    Only nodes that an output needs are checked beyond their class, as the server does it.

    Raises:
        UnfitServerError: it cannot run there; the text lists every problem with node and input.
    """
    problems = list(_problems(workflow, object_info))
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        tail = f"; and {more} more" if more > 0 else ""
        shown = "; ".join(problems[:_SHOWN_PROBLEMS])
        raise UnfitServerError(f"the workflow cannot run on this ComfyUI: {shown}{tail}")


def _problems(workflow: Workflow, object_info: ObjectInfo) -> Iterator[str]:
    classes: dict[str, NodeClass] = {}
    for node_id, node in workflow.items():
        name = node.get("class_type") if isinstance(node, dict) else None
        found = object_info.node_classes.get(str(name))
        if found is not None and isinstance(node.get("inputs"), dict):
            classes[node_id] = found
        else:
            yield f"node {node_id}: the server has no node class {name!r}, or it has no inputs"
    outputs = [node_id for node_id, found in classes.items() if found.is_output_node]
    if not outputs:
        yield "there is no output node such as SaveImage, so nothing would be executed"
    needed = _upstream(workflow, outputs)
    for node_id in (item for item in workflow if item in needed and item in classes):
        yield from _node_problems(workflow, classes, node_id)
    yield from _cycles(workflow, needed)


def _links(workflow: Workflow, node_id: str) -> set[str]:
    """Return the nodes that a node takes inputs from."""
    node = workflow.get(node_id)
    return links_of(node.get("inputs")) if isinstance(node, dict) else set()


def _upstream(workflow: Workflow, start: list[str]) -> set[str]:
    needed: set[str] = set()
    waiting = list(start)
    while waiting:
        node_id = waiting.pop()
        if node_id not in needed:
            needed.add(node_id)
            waiting.extend(_links(workflow, node_id))
    return needed


def _cycles(workflow: Workflow, needed: set[str]) -> Iterator[str]:
    """Name nodes that feed each other in a circle."""
    nodes = needed & workflow.keys()
    try:
        TopologicalSorter({item: _links(workflow, item) for item in nodes}).prepare()
    except CycleError as error:
        cycle = sorted(set(error.args[1]))
        yield f"nodes {', '.join(cycle)} wait for their own result (a cycle)"


def _node_problems(
    workflow: Workflow, classes: dict[str, NodeClass], node_id: str
) -> Iterator[str]:
    node_class, inputs = classes[node_id], workflow[node_id]["inputs"]
    where = f"node {node_id} ({node_class.name})"
    for name in node_class.required:
        if name not in inputs:
            yield f"{where}: required input {name!r} is missing"
    for name, spec in {**node_class.optional, **node_class.required}.items():
        if name in inputs:
            link = as_link(inputs[name])
            if link is None:
                problem = _literal_problem(node_class.name, spec, inputs[name])
            else:
                problem = _link_problem(spec, link, workflow, classes)
            if problem:
                yield f"{where}: input {name!r} {problem}"


def _link_problem(
    spec: InputSpec, link: tuple[str, int], workflow: Workflow, classes: dict[str, NodeClass]
) -> str | None:
    source, slot = link
    if source not in workflow:
        return f"is linked to node {source!r}, which is not in the workflow"
    if source not in classes:
        return None  # its unknown class is already a problem
    types = classes[source].output_types
    if not 0 <= slot < len(types):
        return f"is linked to slot {slot} of {classes[source].name} {source}; it has {len(types)}"
    if not _fits(types[slot], spec.type):
        return f"takes {spec.type}, but {classes[source].name} {source} gives {types[slot]}"
    return None


def _fits(given: str, wanted: str) -> bool:
    """Compare types; "*" and the types that newer nodes work out while running fit anything."""
    if any(kind in ("*", COMBO) or kind.startswith("COMFY_") for kind in (given, wanted)):
        return True
    return bool(set(given.split(",")) & set(wanted.split(",")))


def _literal_problem(node_class: str, spec: InputSpec, value: Any) -> str | None:  # noqa: ANN401 - any JSON
    if spec.type in _LINK_TYPES:
        return f"needs a link to a node that gives {spec.type}, not {str(value)[:80]!r}"
    if spec.choices is not None and not spec.is_upload and value not in spec.choices:
        choices = describe_choices(node_class, value, spec.choices)
        return f"is {str(value)[:100]!r}, but {choices}"
    allowed = _LITERAL_TYPES.get(spec.type)
    is_wrong_bool = isinstance(value, bool) and allowed != (bool,)
    if allowed is not None and (is_wrong_bool or not isinstance(value, allowed)):
        return f"is {str(value)[:80]!r}, but needs a real {spec.type}"
    if spec.type in ("INT", "FLOAT"):
        return _range_problem(spec, value)
    return None


def _range_problem(spec: InputSpec, value: float) -> str | None:
    if spec.minimum is not None and value < spec.minimum:
        return f"is {value}, but at least {spec.minimum}"
    if spec.maximum is not None and value > spec.maximum:
        return f"is {value}, but at most {spec.maximum}"
    return None
