"""Why ComfyUI refused a workflow, in one readable text.

The general error says little; the useful part is in `node_errors[id].errors[]`
(comfyui/PROTOCOL.md, points 3 and 4, recorded/prompt_fail).
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from influencerai_dagster.engines.comfyui.values import Answer

_SHOWN_CHOICES = 5


class _Error(Answer):
    type: str = ""
    message: str = ""
    details: str = ""
    extra_info: dict[str, Any] = Field(default_factory=dict)


class _NodeErrors(Answer):
    errors: tuple[_Error, ...] = ()
    class_type: str = ""


def _as_dict(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever it was given
    return {} if value == [] else value  # so do older servers say that there are none


class PromptAnswer(Answer):
    """What POST /prompt answers, whether it took the workflow or not."""

    prompt_id: str | None = None
    number: float | None = None
    # Servers send a plain text here for a few errors.
    error: _Error | str | None = None
    node_errors: Annotated[dict[str, _NodeErrors], BeforeValidator(_as_dict)] = Field(
        default_factory=dict
    )

    def describe(self) -> str:
        """Return every problem: node class, input, details, received value, a few choices."""
        problems = [
            f"node {node_id} ({node.class_type}): {_describe(error)}"
            for node_id, node in self.node_errors.items()
            for error in node.errors
        ]
        if not problems and isinstance(self.error, _Error):
            problems = [" ".join(filter(None, (self.error.message, self.error.details)))]
        if not problems:
            problems = [str(self.error or "no reason given")]
        return "; ".join(problems)


def _describe(error: _Error) -> str:
    info = error.extra_info
    parts = [error.message]
    if info.get("input_name"):
        parts.append(f"input {info['input_name']!r}")
    if "received_value" in info:
        parts.append(f"received {str(info['received_value'])[:100]!r}")
    choices = _choices(info.get("input_config"))
    if choices:
        parts.append(f"choices are {_shortened(choices)}")
    elif error.details and error.details != info.get("input_name"):
        parts.append(error.details[:300])
    return ", ".join(parts)


def _choices(config: Any) -> list[Any]:  # noqa: ANN401 - raw JSON of either schema style
    match config:
        case [list() as choices, *_]:
            return choices
        case [_, {"options": list() as choices}]:
            return choices
        case _:
            return []


def _shortened(choices: list[Any]) -> str:
    shown = ", ".join(str(choice) for choice in choices[:_SHOWN_CHOICES])
    more = len(choices) - _SHOWN_CHOICES
    return f"{shown} and {more} more" if more > 0 else shown
