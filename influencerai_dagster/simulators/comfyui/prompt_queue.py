"""Hold queue and history of prompts in memory: a restart forgets both and counts from 0 again.

The queue is a heap of plain tuples, as in ComfyUI: two entries with the same number and the same
prompt_id make Python compare dicts, which answers 500 to the second POST and ends the worker thread
at the next pop. Clients have to survive exactly that, so nothing here guards against it.
"""

import copy
import heapq
import threading
from collections.abc import Callable, Iterable
from typing import Any

# (number, prompt_id, prompt, extra_data, ids of the output nodes to execute)
QueueItem = tuple[float, str, dict[str, Any], dict[str, Any], list[str]]

_SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")
_MAX_HISTORY = 10_000


class PromptQueue:
    """Pending heap, the running prompt and the history of finished ones; safe between threads.

    `on_change` is called with the lock held, so that its messages keep the order of the changes.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._changed = threading.Condition()
        self._pending: list[QueueItem] = []
        self._running: dict[int, QueueItem] = {}
        self._history: dict[str, dict[str, Any]] = {}
        self._tasks = 0
        self._number = 0

    def next_number(self) -> int:
        """Take the next queue number, 0 after a start."""
        with self._changed:
            number = self._number
            self._number += 1
            return number

    def put(self, item: QueueItem) -> None:
        """Queue a prompt; raises TypeError on a tie, with the item left in the heap."""
        with self._changed:
            heapq.heappush(self._pending, item)
            self._on_change()
            self._changed.notify()

    def get(self, timeout_seconds: float) -> tuple[int, QueueItem] | None:
        """Move the lowest number to running; None when nothing came within the time."""
        with self._changed:
            if not self._pending and not self._changed.wait_for(
                lambda: self._pending, timeout_seconds
            ):
                return None
            item = heapq.heappop(self._pending)
            task = self._tasks
            self._running[task] = copy.deepcopy(item)
            self._tasks += 1
            self._on_change()
        return task, item

    def finish(
        self, task: int, item: QueueItem, outcome: dict[str, Any], status: dict[str, Any]
    ) -> None:
        """Take a prompt from running into history, replacing what had the same prompt_id."""
        extra_data = {key: value for key, value in item[3].items() if key not in _SENSITIVE}
        entry = {
            "prompt": (*item[:3], extra_data, item[4]),
            "outputs": outcome["outputs"],
            "status": status,
            "meta": outcome["meta"],
        }
        with self._changed:
            self._running.pop(task)
            if len(self._history) >= _MAX_HISTORY:
                self._history.pop(next(iter(self._history)))
            self._history[item[1]] = entry
            self._on_change()

    def listing(self) -> dict[str, list[QueueItem]]:
        """Return running and pending items; pending in heap order, not sorted."""
        with self._changed:
            return {
                "queue_running": list(self._running.values()),
                "queue_pending": copy.deepcopy(self._pending),
            }

    def remaining(self) -> int:
        """Count pending and running prompts."""
        with self._changed:
            return len(self._pending) + len(self._running)

    def is_running(self, prompt_id: str) -> bool:
        """Tell whether this prompt is the running one."""
        with self._changed:
            return any(item[1] == prompt_id for item in self._running.values())

    def clear(self) -> None:
        """Forget every pending prompt; the running one goes on."""
        with self._changed:
            self._pending = []
        self._on_change()

    def delete(self, prompt_id: str) -> None:
        """Forget one pending prompt if it is there."""
        with self._changed:
            for index, item in enumerate(self._pending):
                if item[1] == prompt_id:
                    del self._pending[index]
                    heapq.heapify(self._pending)
                    break
            else:
                return
        self._on_change()

    def history(self, max_items: int | None = None, offset: int = -1) -> dict[str, Any]:
        """Return finished prompts, oldest first; without an offset the last `max_items`."""
        with self._changed:
            if offset < 0 and max_items is not None:
                offset = len(self._history) - max_items
            found: dict[str, Any] = {}
            for index, (prompt_id, entry) in enumerate(self._history.items()):
                if index >= offset:
                    found[prompt_id] = entry
                    if max_items is not None and len(found) >= max_items:
                        break
            return copy.deepcopy(found)

    def history_of(self, prompt_id: str) -> dict[str, Any]:
        """Return `{prompt_id: entry}`, empty for anything that is not finished."""
        with self._changed:
            entry = self._history.get(prompt_id)
            return {} if entry is None else {prompt_id: copy.deepcopy(entry)}

    def clear_history(self) -> None:
        """Forget all finished prompts."""
        with self._changed:
            self._history.clear()

    def delete_history(self, prompt_ids: Iterable[str]) -> None:
        """Forget finished prompts by id."""
        with self._changed:
            for prompt_id in prompt_ids:
                self._history.pop(prompt_id, None)
