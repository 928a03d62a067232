"""Check a prompt before it is queued: the errors that POST /prompt answers with.

Values are coerced in place on the way ("64" → 64, 64.9 → 64, "false" → True), which history shows.
Choices of the second schema style (`["COMBO", {"options": …}]`) pass unchecked, as they do there.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.node_classes import input_config, node_classes

Error = dict[str, Any]
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "INT": int,
    "FLOAT": float,
    "STRING": str,
    "BOOLEAN": bool,
}
_SHOWN_CHOICES = 20


@dataclass(frozen=True)
class Validation:
    """What validation found: an error that rejects the prompt, or the outputs that will run."""

    error: Error | None
    outputs: list[str]
    node_errors: dict[str, Any]


class _CycleError(Exception):
    """A node feeds itself; ComfyUI rejects the output without naming a node."""


def validate_prompt(prompt: Any, folders: Folders) -> Validation:  # noqa: ANN401 - whatever a client sent
    """Validate every output of a prompt and all that it needs.

    Raises:
        TypeError: the prompt is null or text; the route answers 500, as ComfyUI does.
    """
    outputs: list[str] = []
    for node_id in prompt:
        node = prompt[node_id]
        class_type = node.get("class_type")
        if class_type is None:
            text = "Cannot execute because a node is missing the class_type property."
            return Validation(_error("invalid_prompt", text, f"Node ID '#{node_id}'"), [], {})
        if class_type not in node_classes():
            text = f"Cannot execute because node {class_type} does not exist."
            return Validation(_error("invalid_prompt", text, f"Node ID '#{node_id}'"), [], {})
        if node_classes()[class_type]["output_node"]:
            outputs.append(node_id)
    if not outputs:
        return Validation(_error("prompt_no_outputs", "Prompt has no outputs"), [], {})
    return _validate_outputs(prompt, outputs, folders)


def _validate_outputs(prompt: dict[str, Any], outputs: list[str], folders: Folders) -> Validation:
    check = _Check(prompt, folders)
    good: list[str] = []
    node_errors: dict[str, Any] = {}
    for output in outputs:
        try:
            is_valid = check.node(output)
        except _CycleError:
            is_valid = False
        except Exception as error:  # noqa: BLE001 - any broken node becomes an answer, as in ComfyUI
            is_valid = False
            check.errors[output] = [
                _error(
                    "exception_during_validation",
                    "Exception when validating node",
                    str(error),
                    _exception_info(error),
                )
            ]
        if is_valid:
            good.append(output)
            continue
        for node_id, errors in check.errors.items():
            entry = node_errors.setdefault(
                node_id,
                {
                    "errors": errors,
                    "dependent_outputs": [],
                    "class_type": prompt[node_id]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)
    if not good:
        rejected = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation")
        return Validation(rejected, [], node_errors)
    return Validation(None, good, node_errors)


@dataclass
class _Check:
    prompt: dict[str, Any]
    folders: Folders
    errors: dict[str, list[Error]] = field(default_factory=dict)
    done: dict[str, bool] = field(default_factory=dict)
    under_way: set[str] = field(default_factory=set)

    def node(self, node_id: str) -> bool:
        """Validate one node and what feeds it; tells whether all is well."""
        if node_id in self.done:
            return self.done[node_id]
        if node_id in self.under_way:
            raise _CycleError
        self.under_way.add(node_id)
        try:
            self.done[node_id] = self._inputs(node_id)
        finally:
            self.under_way.discard(node_id)
        return self.done[node_id]

    def _inputs(self, node_id: str) -> bool:
        inputs = self.prompt[node_id]["inputs"]
        class_type = self.prompt[node_id]["class_type"]
        specs = node_classes()[class_type]["input"]
        is_valid = True
        found: list[Error] = []
        for group in ("required", "optional"):
            for name, config in specs.get(group, {}).items():
                if name not in inputs:
                    if group == "required":
                        info = {"input_name": name}
                        text = "Required input is missing"
                        found.append(_error("required_input_missing", text, name, info))
                elif isinstance(inputs[name], list):
                    error, is_fed = self._link(name, config, inputs[name])
                    is_valid &= is_fed
                    found += error
                else:
                    found += self._value(class_type, name, config, inputs)
        if found:
            self.errors[node_id] = found
        return is_valid and not found

    def _link(self, name: str, config: list[Any], link: list[Any]) -> tuple[list[Error], bool]:
        info = {"input_name": name, "input_config": input_config(config, self.folders)}
        if len(link) != 2:  # noqa: PLR2004 - [node id, slot]
            text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [_error("bad_linked_input", text, name, {**info, "received_value": link})], True
        source = link[0]
        received = tuple(node_classes()[self.prompt[source]["class_type"]]["output"])[link[1]]
        if received != config[0]:
            details = f"{name}, received_type({received}) mismatch input_type({config[0]})"
            text = "Return type mismatch between linked nodes"
            more = {"received_type": received, "linked_node": link}
            return [_error("return_type_mismatch", text, details, info | more)], True
        try:
            return [], self.node(source)
        except _CycleError:
            raise
        except Exception as error:  # noqa: BLE001 - reported at the inner node, as in ComfyUI
            text = "Exception when validating inner node"
            more = {**info, **_exception_info(error), "linked_node": link}
            kind = "exception_during_inner_validation"
            self.errors[source] = [_error(kind, text, str(error), more)]
            self.done[source] = False
            return [], False

    def _value(
        self, class_type: str, name: str, config: list[Any], inputs: dict[str, Any]
    ) -> list[Error]:
        config = input_config(config, self.folders)
        kind = config[0]
        info = {"input_name": name, "input_config": config, "received_value": inputs[name]}
        try:
            if isinstance(kind, str) and kind in _CONVERSIONS:
                inputs[name] = _CONVERSIONS[kind](inputs[name])
        except (ValueError, TypeError, OverflowError) as error:
            details = f"{name}, {inputs[name]}, {error}"
            text = f"Failed to convert an input value to a {kind} value"
            more = {**info, "exception_message": str(error)}
            return [_error("invalid_input_type", text, details, more)]
        value = inputs[name]
        info["received_value"] = value
        if class_type == "LoadImage":
            return self._image(name, value)
        if isinstance(kind, list):
            return _choice(name, kind, value, info)
        return _range(name, config[1], value, info)

    def _image(self, name: str, value: str) -> list[Error]:
        if self.folders.annotated_path(str(value)).exists():
            return []
        text = "Custom validation failed for node"
        details = f"{name} - Invalid image file: {value}"
        return [_error("custom_validation_failed", text, details, {"input_name": name})]


def _choice(name: str, choices: list[Any], value: object, info: dict[str, Any]) -> list[Error]:
    if value in choices:
        return []
    shown = str(choices)
    if len(choices) > _SHOWN_CHOICES:
        shown = f"(list of length {len(choices)})"
        info = {**info, "input_config": None}
    return [
        _error("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", info)
    ]


def _range(name: str, options: dict[str, Any], value: float, info: dict[str, Any]) -> list[Error]:
    if "min" in options and value < options["min"]:
        text = f"Value {value} smaller than min of {options['min']}"
        return [_error("value_smaller_than_min", text, name, info)]
    if "max" in options and value > options["max"]:
        text = f"Value {value} bigger than max of {options['max']}"
        return [_error("value_bigger_than_max", text, name, info)]
    return []


def _error(kind: str, message: str, details: str = "", info: Error | None = None) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": info or {}}


def _exception_info(error: Exception) -> dict[str, Any]:
    return {
        "exception_message": str(error),
        "exception_type": exception_name(error),
        "traceback": traceback.format_tb(error.__traceback__),
    }


def exception_name(error: BaseException) -> str:
    """Name an exception's class as ComfyUI does: `ValueError`, `PIL.UnidentifiedImageError`."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
