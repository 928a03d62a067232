"""Parse the node classes of a server: what each takes, its choices, what it returns.

GET /object_info describes an input in two styles, `[[choices], {…}]` and
`["COMBO", {"options": [choices]}]` (docs/protocols/comfyui.md, point 6); both are `choices` here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from influencerai_dagster.engines.comfyui.values import Answer

COMBO = "COMBO"


@dataclass(frozen=True)
class InputSpec:
    """One input of a node class.

    Attributes:
        type: ComfyUI's type: INT, FLOAT, STRING, BOOLEAN, COMBO, or that of a link (MODEL, CLIP).
        choices: allowed values, None if the input is not a list.
        minimum: smallest number, None if there is none.
        maximum: largest number, None if there is none.
        is_upload: the choices are uploaded files, and the list leaves subfolders out.
    """

    name: str
    type: str
    choices: tuple[Any, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    is_upload: bool = False


@dataclass(frozen=True)
class NodeClass:
    """One node class, with its inputs by name and the types of its output slots."""

    name: str
    required: Mapping[str, InputSpec]
    optional: Mapping[str, InputSpec]
    output_types: tuple[str, ...]
    is_output_node: bool


@dataclass(frozen=True)
class ObjectInfo:
    """All node classes of a server, by name."""

    node_classes: Mapping[str, NodeClass]

    def choices(self, node_class: str, input_name: str) -> tuple[Any, ...]:
        """Return what a server offers for one input, for example its checkpoint files."""
        found = self.node_classes.get(node_class)
        spec = None if found is None else {**found.optional, **found.required}.get(input_name)
        return () if spec is None or spec.choices is None else spec.choices


class NodeClassAnswer(Answer):
    """One entry of GET /object_info."""

    input: dict[str, Any]
    output: tuple[Any, ...] = ()
    output_node: bool = False

    def to_node_class(self, name: str) -> NodeClass:
        """Return the node class with its inputs."""
        return NodeClass(
            name=name,
            required=_inputs(self.input.get("required")),
            optional=_inputs(self.input.get("optional")),
            # An output that is itself a list of choices fits a COMBO input.
            output_types=tuple(item if isinstance(item, str) else COMBO for item in self.output),
            is_output_node=self.output_node,
        )


def _inputs(section: Any) -> dict[str, InputSpec]:  # noqa: ANN401 - custom nodes put anything here
    if not isinstance(section, dict):
        return {}
    return {name: _input(name, spec) for name, spec in section.items()}


def _input(name: str, spec: Any) -> InputSpec:  # noqa: ANN401 - as above
    parts = spec if isinstance(spec, list) and spec else ["*"]
    options = parts[1] if len(parts) > 1 and isinstance(parts[1], dict) else {}
    choices = parts[0] if isinstance(parts[0], list) else options.get("options")
    return InputSpec(
        name=name,
        type=parts[0] if isinstance(parts[0], str) else COMBO,
        choices=tuple(choices) if isinstance(choices, list) else None,
        minimum=_number(options.get("min")),
        maximum=_number(options.get("max")),
        is_upload=any(key.endswith("_upload") and value for key, value in options.items()),
    )


def _number(value: Any) -> float | None:  # noqa: ANN401 - as above
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
