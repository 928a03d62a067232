"""Run prompts in one worker thread, by number; keep the results of nodes for the next prompt.

Order of nodes, what is cached and how a run ends are those of the recordings. What a node does
lives in nodes.py, what a run tells the sockets in runs.py.
"""

import logging
import os
import threading
import time
from typing import Any

from influencerai_dagster.simulators.comfyui.faults import Faults, Statistics
from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.graph import PromptGraph, signatures
from influencerai_dagster.simulators.comfyui.node_classes import node_classes
from influencerai_dagster.simulators.comfyui.node_values import NodeContext, NodeResult
from influencerai_dagster.simulators.comfyui.nodes import NODES
from influencerai_dagster.simulators.comfyui.prompt_queue import PromptQueue, QueueItem
from influencerai_dagster.simulators.comfyui.runs import PromptRun
from influencerai_dagster.simulators.comfyui.sockets import Sockets

_IDLE_SECONDS = 0.5
_HANG_SECONDS = 0.02

log = logging.getLogger(__name__)


class InterruptedRunError(Exception):
    """POST /interrupt reached a node or a sampler step."""


class Executor:
    """Executes prompts one after the other until the process ends.

    Attributes:
        interrupt: set to stop the running prompt at its next node or sampler step.
        free_memory: set to forget cached results before the next prompt.
        running_node: (client id, node id) of this moment, for sockets that connect in the middle.
    """

    def __init__(
        self,
        queue: PromptQueue,
        sockets: Sockets,
        folders: Folders,
        faults: Faults,
        statistics: Statistics,
    ) -> None:
        self.interrupt = threading.Event()
        self.free_memory = threading.Event()
        self.running_node: tuple[str | None, str | None] = (None, None)
        self._queue = queue
        self._sockets = sockets
        self._folders = folders
        self._faults = faults
        self._statistics = statistics
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
            taken = self._queue.get(_IDLE_SECONDS)
            if self.free_memory.is_set():
                self.free_memory.clear()
                self._cache.clear()
            if taken is not None:
                self._execute(*taken)

    def _execute(self, task: int, item: QueueItem) -> None:
        run = PromptRun(item, self._sockets)
        self.interrupt.clear()
        self._statistics.count("executed", run.prompt_id)
        crash_after = self._faults.crash_after_prompts
        if crash_after and len(self._statistics.order) >= crash_after:
            os._exit(1)
        run.is_to_fail = self._faults.dooms(run.prompt_id)
        self._run_nodes(run)
        self._statistics.outcomes[run.prompt_id] = run.outcome
        time.sleep(self._faults.history_lag_seconds)
        is_success = run.outcome == "execution_success"
        status = {
            "status_str": "success" if is_success else "error",
            "completed": is_success,
            "messages": run.messages,
        }
        self._queue.finish(task, item, {"outputs": run.outputs, "meta": run.meta}, status)
        self._statistics.note("finished", run.prompt_id, run.outcome)
        run.executing(None)

    def _run_nodes(self, run: PromptRun) -> None:
        run.announce("execution_start", {})
        signature_of = signatures(run.prompt, self._folders)
        known = set(signature_of.values())
        self._cache = {key: result for key, result in self._cache.items() if key in known}
        cached = [node for node in run.prompt if signature_of.get(node) in self._cache]
        run.announce("execution_cached", {"nodes": cached})
        run.results = {node: self._cache[signature_of[node]] for node in cached}
        graph = PromptGraph(run.prompt, run.item[4], set(cached))
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
        run.announce("execution_success", {})

    def _show_cached(self, run: PromptRun, node: str) -> None:
        ui = run.results[node].ui
        if ui is not None:
            run.keep_output(node, ui)
        run.progress(node, 1, 1, "finished")

    def _run_node(self, run: PromptRun, node: str) -> bool:
        run.progress(node, 0.0, 1.0, "running")
        self.running_node = (run.client_id, node)
        run.executing(node)
        inputs: dict[str, Any] = {}
        try:
            self._check_interrupt()
            inputs = _inputs(run, node)
            if run.is_to_fail:
                self._fail_on_demand(run.class_of(node))
            result = NODES[run.class_of(node)](self._context(run, node), **inputs)
        except InterruptedRunError:
            run.interrupted(node)
            return False
        except Exception as error:  # noqa: BLE001 - whatever a node raises ends its run, not the server
            log.warning("prompt %s failed at node %s: %s", run.prompt_id, node, error)
            run.failed(node, inputs, error)
            return False
        run.results[node] = result
        run.executed.append(node)
        if result.ui is not None:
            run.keep_output(node, result.ui)
        run.finish_progress(node)
        return True

    def _fail_on_demand(self, class_type: str) -> None:
        if class_type == self._faults.fail_node:
            raise _named_error(self._faults.fail_type, self._faults.fail_message)

    def _context(self, run: PromptRun, node: str) -> NodeContext:
        return NodeContext(
            folders=self._folders,
            faults=self._faults,
            prompt=run.prompt,
            extra_pnginfo=run.extra_data.get("extra_pnginfo") or {},
            is_watched=self._sockets.is_heard(run.client_id),
            wait=self._wait,
            step=lambda step, steps, preview: run.sampler_step(node, step, steps, preview),
            count_rendered=lambda: self._statistics.count("rendered", run.prompt_id),
            note_lost=lambda: self._statistics.note("lost", run.prompt_id),
        )

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)
        self._wait_while_hung()
        self._check_interrupt()

    def _check_interrupt(self) -> None:
        if self.interrupt.is_set():
            self.interrupt.clear()
            raise InterruptedRunError

    def _wait_while_hung(self) -> None:
        while self._faults.hang_worker:
            time.sleep(_HANG_SECONDS)


def _inputs(run: PromptRun, node: str) -> dict[str, Any]:
    specs = node_classes()[run.class_of(node)]["input"]
    given = run.prompt[node]["inputs"]
    return {
        name: run.results[value[0]].values[value[1]] if isinstance(value, list) else value
        for name in (*specs.get("required", {}), *specs.get("optional", {}))
        if (value := given.get(name)) is not None
    }


def _named_error(type_name: str, text: str) -> Exception:
    """Make an exception whose class reports itself under a name like `torch.OutOfMemoryError`."""
    module, _, name = type_name.rpartition(".")
    kind: type[Exception] = type(name, (Exception,), {"__module__": module or "builtins"})
    return kind(text)
