"""The one worker thread: takes prompts by number, runs their nodes, tells the sockets.

Order of nodes and messages, what is cached and how a run ends are those of the recordings; what a
node does lives in nodes.py.
"""

import logging
import os
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from influencerai_dagster.local.simulators.comfyui.faults import Faults, Statistics
from influencerai_dagster.local.simulators.comfyui.folders import Folders
from influencerai_dagster.local.simulators.comfyui.graph import Graph, signatures
from influencerai_dagster.local.simulators.comfyui.node_classes import node_classes
from influencerai_dagster.local.simulators.comfyui.node_values import NodeContext, NodeResult
from influencerai_dagster.local.simulators.comfyui.nodes import NODES
from influencerai_dagster.local.simulators.comfyui.prompt_queue import PromptQueue, QueueItem
from influencerai_dagster.local.simulators.comfyui.sockets import Sockets
from influencerai_dagster.local.simulators.comfyui.validation import exception_name

_IDLE_SECONDS = 0.5

log = logging.getLogger(__name__)


class InterruptedRunError(Exception):
    """POST /interrupt reached a node or a sampler step."""


@dataclass
class Run:
    """What one execution of a prompt has said and made so far."""

    item: QueueItem
    client_id: str | None
    messages: list[list[Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    results: dict[str, NodeResult] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_doomed: bool = False

    @property
    def prompt_id(self) -> str:
        """The id under which the prompt was posted."""
        return self.item[1]


class Executor:
    """Executes prompts one after the other until the process ends."""

    def __init__(
        self,
        queue: PromptQueue,
        sockets: Sockets,
        folders: Folders,
        faults: Faults,
        statistics: Statistics,
    ) -> None:
        self.queue = queue
        self.sockets = sockets
        self.folders = folders
        self.faults = faults
        self.statistics = statistics
        self.interrupt = threading.Event()
        self.free_memory = threading.Event()
        self.running_node: tuple[str | None, str | None] = (None, None)
        self._cache: dict[str, NodeResult] = {}
        self._thread = threading.Thread(target=self._work, name="comfyui-worker", daemon=True)

    def start(self) -> None:
        """Start the worker thread; it ends with the process, or dies of a broken queue."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether the worker thread still lives."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while True:
            self._wait_while_hung()
            taken = self.queue.get(_IDLE_SECONDS)
            if self.free_memory.is_set():
                self.free_memory.clear()
                self._cache.clear()
            if taken is None:
                continue
            task, item = taken
            run = Run(item, item[3].get("client_id"))
            self._execute(run)
            time.sleep(self.faults.history_lag_seconds)
            is_success = run.messages[-1][0] == "execution_success"
            status = {
                "status_str": "success" if is_success else "error",
                "completed": is_success,
                "messages": run.messages,
            }
            self.queue.finish(task, item, {"outputs": run.outputs, "meta": run.meta}, status)
            if run.client_id is not None:
                end = {"node": None, "prompt_id": run.prompt_id}
                self.sockets.post("executing", end, run.client_id)

    def _execute(self, run: Run) -> None:
        self.interrupt.clear()
        self.statistics.count("executed", run.prompt_id)
        if (
            self.faults.crash_after_prompts
            and len(self.statistics.order) >= self.faults.crash_after_prompts
        ):
            os._exit(1)
        run.is_doomed = self.faults.dooms(run.prompt_id)
        _, prompt_id, prompt, _, outputs = run.item
        self._message(run, "execution_start", {"prompt_id": prompt_id})
        signature_of = signatures(prompt, self.folders)
        known = set(signature_of.values())
        self._cache = {key: result for key, result in self._cache.items() if key in known}
        cached = [node for node in prompt if signature_of.get(node) in self._cache]
        self._message(run, "execution_cached", {"nodes": cached, "prompt_id": prompt_id})
        run.results = {node: self._cache[signature_of[node]] for node in cached}
        graph = Graph(prompt, outputs, set(cached))
        try:
            while (node := graph.take()) is not None:
                if node in cached:
                    self._show_cached(run, node)
                elif self._run_node(run, node):
                    self._cache[signature_of[node]] = run.results[node]
                else:
                    return
        finally:
            self.running_node = (None, None)
        self._message(run, "execution_success", {"prompt_id": prompt_id})
        self.statistics.outcomes[prompt_id] = "execution_success"

    def _show_cached(self, run: Run, node: str) -> None:
        result = run.results[node]
        if result.ui is not None:
            self._keep_output(run, node, result.ui)
        self._progress(run, node, 1, 1, "finished")

    def _run_node(self, run: Run, node: str) -> bool:
        self._progress(run, node, 0.0, 1.0, "running")
        self.running_node = (run.client_id, node)
        if run.client_id is not None:
            data = {"node": node, "display_node": node, "prompt_id": run.prompt_id}
            self.sockets.post("executing", data, run.client_id)
        entry = run.item[2][node]
        inputs: dict[str, Any] = {}
        try:
            self._check_interrupt()
            inputs = self._inputs(run, node)
            if run.is_doomed and entry["class_type"] == self.faults.fail_node:
                raise _named_error(self.faults.fail_type, self.faults.fail_message)
            result = NODES[entry["class_type"]](self._context(run, node), **inputs)
        except InterruptedRunError:
            self._interrupted(run, node)
            return False
        except Exception as error:  # noqa: BLE001 - whatever a node raises ends its run, not the server
            self._failed(run, node, inputs, error)
            return False
        run.results[node] = result
        run.executed.append(node)
        if result.ui is not None:
            self._keep_output(run, node, result.ui)
        state = run.progress[node]
        self._progress(run, node, state["max"], state["max"], "finished")
        return True

    def _inputs(self, run: Run, node: str) -> dict[str, Any]:
        entry = run.item[2][node]
        specs = node_classes()[entry["class_type"]]["input"]
        names = [*specs.get("required", {}), *specs.get("optional", {})]
        return {
            name: run.results[value[0]].values[value[1]] if isinstance(value, list) else value
            for name in names
            if (value := entry["inputs"].get(name)) is not None
        }

    def _context(self, run: Run, node: str) -> NodeContext:
        return NodeContext(
            folders=self.folders,
            faults=self.faults,
            prompt=run.item[2],
            extra_pnginfo=run.item[3].get("extra_pnginfo") or {},
            is_watched=self.sockets.is_heard(run.client_id),
            wait=self._wait,
            step=lambda step, steps, preview: self._sampler_step(run, node, step, steps, preview),
            count_rendered=lambda: self.statistics.count("rendered", run.prompt_id),
        )

    def _keep_output(self, run: Run, node: str, ui: dict[str, Any]) -> None:
        run.outputs[node] = ui
        run.meta[node] = {
            "node_id": node,
            "display_node": node,
            "parent_node": None,
            "real_node_id": node,
        }
        if run.client_id is not None:
            data = {"node": node, "display_node": node, "output": ui, "prompt_id": run.prompt_id}
            self.sockets.post("executed", data, run.client_id)

    def _interrupted(self, run: Run, node: str) -> None:
        data = {
            "prompt_id": run.prompt_id,
            "node_id": node,
            "node_type": run.item[2][node]["class_type"],
            "executed": run.executed,
        }
        self._message(run, "execution_interrupted", data, is_broadcast=True)
        self.statistics.outcomes[run.prompt_id] = "execution_interrupted"

    def _failed(self, run: Run, node: str, inputs: dict[str, Any], error: Exception) -> None:
        log.warning("prompt %s failed at node %s: %s", run.prompt_id, node, error)
        data = {
            "prompt_id": run.prompt_id,
            "node_id": node,
            "node_type": run.item[2][node]["class_type"],
            "executed": run.executed,
            "exception_message": f"{error}\n",
            "exception_type": exception_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_shown(value)] for name, value in inputs.items()},
            "current_outputs": list(run.item[2]),
        }
        self._message(run, "execution_error", data)
        self.statistics.outcomes[run.prompt_id] = "execution_error"

    def _message(
        self, run: Run, kind: str, data: dict[str, Any], *, is_broadcast: bool = False
    ) -> None:
        data = {**data, "timestamp": int(time.time() * 1000)}
        run.messages.append([kind, data])
        if run.client_id is not None or is_broadcast:
            self.sockets.post(kind, data, run.client_id)

    def _progress(self, run: Run, node: str, value: float, maximum: float, state: str) -> None:
        run.progress[node] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node,
            "prompt_id": run.prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        data = {"prompt_id": run.prompt_id, "nodes": run.progress}
        self.sockets.post("progress_state", data, run.client_id)

    def _sampler_step(
        self, run: Run, node: str, step: int, steps: int, preview: bytes | None
    ) -> None:
        """Tell about one finished sampler step, with its preview picture (JPEG)."""
        self._progress(run, node, step, steps, "running")
        progress = {"value": step, "max": steps, "prompt_id": run.prompt_id, "node": node}
        metadata = {
            "node_id": node,
            "prompt_id": run.prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        has_metadata = self.sockets.announces_metadata(run.client_id)
        if preview is not None and has_metadata:
            self.sockets.post_preview(preview, metadata, run.client_id)
        self.sockets.post("progress", progress, run.client_id)
        if preview is not None and not has_metadata:
            self.sockets.post_preview(preview, metadata, run.client_id)

    def _wait(self, seconds: float) -> None:
        """Let a node take its time; raises InterruptedRunError only when the time is over."""
        time.sleep(seconds)
        self._wait_while_hung()
        self._check_interrupt()

    def _check_interrupt(self) -> None:
        """Raise InterruptedRunError when an interrupt is waiting."""
        if self.interrupt.is_set():
            self.interrupt.clear()
            raise InterruptedRunError

    def _wait_while_hung(self) -> None:
        while self.faults.hang_worker:
            time.sleep(0.02)


def _named_error(type_name: str, text: str) -> Exception:
    """Make an exception whose class reports itself under a name like `torch.OutOfMemoryError`."""
    module, _, name = type_name.rpartition(".")
    kind: type[Exception] = type(name, (Exception,), {"__module__": module or "builtins"})
    return kind(text)


def _shown(value: Any) -> Any:  # noqa: ANN401 - node inputs are of any kind
    return value if isinstance(value, (int, float, bool, str)) else str(value)
