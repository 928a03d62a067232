"""Record one execution of a prompt: its outputs, and the messages that it sends to sockets.

Messages about the run as a whole are kept for history too. Without a client id most of them are
sent to nobody, progress goes to everybody (PROTOCOL point 19).
"""

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from influencerai_dagster.simulators.comfyui.node_classes import node_classes
from influencerai_dagster.simulators.comfyui.node_values import NodeResult
from influencerai_dagster.simulators.comfyui.prompt_queue import QueueItem
from influencerai_dagster.simulators.comfyui.sockets import Sockets
from influencerai_dagster.simulators.comfyui.validation import exception_name


@dataclass
class PromptRun:
    """A prompt under way, used by the worker thread only.

    Attributes:
        messages: what history shows, `[kind, data]` each.
        outputs: what output nodes reported, by node id.
        results: values of the nodes that have run or were cached.
        executed: ids of the nodes that really ran.
        is_to_fail: the fail node has to fail.
    """

    item: QueueItem
    sockets: Sockets
    messages: list[list[Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    results: dict[str, NodeResult] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    is_to_fail: bool = False
    _progress: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def prompt_id(self) -> str:
        """The id under which the prompt was posted."""
        return self.item[1]

    @property
    def prompt(self) -> dict[str, Any]:
        """The nodes by id."""
        return self.item[2]

    @property
    def extra_data(self) -> dict[str, Any]:
        """What the client sent beside the prompt."""
        return self.item[3]

    @property
    def client_id(self) -> str | None:
        """Whose socket hears about the run."""
        return self.item[3].get("client_id")

    @property
    def outcome(self) -> str:
        """The kind of the last message about the run as a whole."""
        return str(self.messages[-1][0])

    def class_of(self, node: str) -> str:
        """Return a node's class."""
        return str(self.prompt[node]["class_type"])

    def announce(self, kind: str, data: dict[str, Any], *, is_broadcast: bool = False) -> None:
        """Keep a message for history and send it to the client, or to all if there is none."""
        data = {"prompt_id": self.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.messages.append([kind, data])
        if self.client_id is not None or is_broadcast:
            self.sockets.post(kind, data, self.client_id)

    def executing(self, node: str | None) -> None:
        """Tell that a node starts, or with None that the run is over and in history."""
        if self.client_id is None:
            return
        data = {"node": node, "display_node": node} if node is not None else {"node": None}
        self.sockets.post("executing", {**data, "prompt_id": self.prompt_id}, self.client_id)

    def keep_output(self, node: str, ui: dict[str, Any]) -> None:
        """Keep what an output node reported, and tell it."""
        self.outputs[node] = ui
        names = ("node_id", "display_node", "parent_node", "real_node_id")
        self.meta[node] = dict(zip(names, (node, node, None, node), strict=True))
        if self.client_id is not None:
            data = {"node": node, "display_node": node, "output": ui, "prompt_id": self.prompt_id}
            self.sockets.post("executed", data, self.client_id)

    def progress(self, node: str, value: float, maximum: float, state: str) -> None:
        """Tell the state of all nodes so far, after changing one."""
        self._progress[node] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node,
            "prompt_id": self.prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        data = {"prompt_id": self.prompt_id, "nodes": self._progress}
        self.sockets.post("progress_state", data, self.client_id)

    def finish_progress(self, node: str) -> None:
        """Tell that a node is done."""
        maximum = self._progress[node]["max"]
        self.progress(node, maximum, maximum, "finished")

    def sampler_step(self, node: str, step: int, steps: int, preview: bytes | None) -> None:
        """Tell about one finished sampler step, with its preview image (JPEG)."""
        self.progress(node, step, steps, "running")
        progress = {"value": step, "max": steps, "prompt_id": self.prompt_id, "node": node}
        metadata = {
            "node_id": node,
            "prompt_id": self.prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        is_first = self.sockets.announces_metadata(self.client_id)
        if preview is not None and is_first:
            self.sockets.post_preview(preview, metadata, self.client_id)
        self.sockets.post("progress", progress, self.client_id)
        if preview is not None and not is_first:
            self.sockets.post_preview(preview, metadata, self.client_id)

    def interrupted(self, node: str) -> None:
        """End the run as interrupted at a node; every socket hears it if there is no client."""
        data = {"node_id": node, "node_type": self.class_of(node), "executed": self.executed}
        self.announce("execution_interrupted", data, is_broadcast=True)

    def failed(self, node: str, inputs: dict[str, Any], error: Exception) -> None:
        """End the run as failed at a node."""
        shown = dict(inputs)
        if "hidden" in node_classes()[self.class_of(node)]["input"]:
            shown |= {"prompt": self.prompt, "extra_pnginfo": self.extra_data.get("extra_pnginfo")}
        data = {
            "node_id": node,
            "node_type": self.class_of(node),
            "executed": self.executed,
            "exception_message": f"{error}\n",
            "exception_type": exception_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_shown(value)] for name, value in shown.items()},
            "current_outputs": list(self.prompt),
        }
        self.announce("execution_error", data)


def _shown(value: Any) -> Any:  # noqa: ANN401 - node inputs are of any kind
    return value if isinstance(value, (int, float, str, type(None))) else str(value)
