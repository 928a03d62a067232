"""Describe in one readable text why ComfyUI refused a workflow.

The general error says little; the useful part is in `node_errors[id].errors[]`
(docs/protocols/comfyui.md, points 3 and 4, recorded/comfyui/prompt_fail).
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from influencerai_dagster.engines.comfyui.choices import describe_choices
from influencerai_dagster.engines.comfyui.values import Answer
from influencerai_dagster.errors import PermanentError


class UnfitServerError(PermanentError):
    """This server cannot run a workflow; another one may have the files and nodes for it."""


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
            f"node {node_id} ({node.class_type}): {_describe(node.class_type, error)}"
            for node_id, node in self.node_errors.items()
            for error in node.errors
        ]
        if not problems and isinstance(self.error, _Error):
            problems = [" ".join(filter(None, (self.error.message, self.error.details)))]
        if not problems:
            problems = [str(self.error or "no reason given")]
        return "; ".join(problems)


def _describe(node_class: str, error: _Error) -> str:
    info = error.extra_info
    parts = [error.message]
    if info.get("input_name"):
        parts.append(f"input {info['input_name']!r}")
    if "received_value" in info:
        parts.append(f"received {str(info['received_value'])[:100]!r}")
    choices = _choices(info.get("input_config"))
    if choices:
        parts.append(describe_choices(node_class, info.get("received_value", ""), choices))
    elif error.details not in {"", info.get("input_name")} and not _is_list_of_files(error):
        parts.append(error.details[:300])
    return ", ".join(parts)


def _is_list_of_files(error: _Error) -> bool:
    """Return whether the details list all choices, among them files of other tenants."""
    return error.type == "value_not_in_list" and "list of length" not in error.details


def _choices(config: Any) -> list[Any]:  # noqa: ANN401 - raw JSON of either schema style
    match config:
        case [list() as choices, *_]:
            return choices
        case [_, {"options": list() as choices}]:
            return choices
        case _:
            return []
