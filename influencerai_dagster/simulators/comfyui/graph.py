"""Decide which node runs next, and which nodes are cached.

A node's signature is a hash of its class, its values and the signatures of what feeds it, node ids
aside: two prompts with equal signatures share results. LoadImage adds the content of its file.
"""

import hashlib
import json
from typing import Any

from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.node_classes import node_classes


class PromptGraph:
    """The nodes that some outputs need and that are not cached, in ComfyUI's order."""

    def __init__(self, prompt: dict[str, Any], outputs: list[str], cached: set[str]) -> None:
        self._prompt = prompt
        self._pending: dict[str, set[str]] = {}
        for output in outputs:
            self._add(output, cached)

    def _add(self, output: str, cached: set[str]) -> None:
        stack = [output]
        while stack:
            node = stack.pop()
            if node in self._pending:
                continue
            needed = [] if node in cached else _links(self._prompt[node])
            self._pending[node] = {source for source in needed if source not in cached}
            stack += [source for source in needed if source not in cached]

    def take(self) -> str | None:
        """Remove and return a node whose inputs are there; None when all have run."""
        ready = [node for node, waits in self._pending.items() if not waits]
        if not ready:
            return None
        node = next(
            (node for node in ready if self._is_output(node)),
            next((node for node in ready if self._feeds_output(node)), ready[0]),
        )
        del self._pending[node]
        for waits in self._pending.values():
            waits.discard(node)
        return node

    def _is_output(self, node: str) -> bool:
        return bool(node_classes()[self._prompt[node]["class_type"]]["output_node"])

    def _feeds_output(self, node: str) -> bool:
        return any(
            node in waits and self._is_output(other) for other, waits in self._pending.items()
        )


def _links(node: dict[str, Any]) -> list[str]:
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)]


def signatures(prompt: dict[str, Any], folders: Folders) -> dict[str, str]:
    """Return the signature of every node whose whole ancestry is in the prompt."""
    found: dict[str, str] = {}
    under_way: set[str] = set()

    def sign(node_id: str) -> str:
        if node_id in found:
            return found[node_id]
        if node_id in under_way:
            raise KeyError(node_id)
        under_way.add(node_id)
        node = prompt[node_id]
        inputs = {
            name: [sign(value[0]), value[1]] if isinstance(value, list) else value
            for name, value in sorted(node["inputs"].items())
        }
        content = _file_content(node, folders)
        text = json.dumps([node["class_type"], inputs, content])
        found[node_id] = hashlib.sha256(text.encode()).hexdigest()
        return found[node_id]

    for node_id in prompt:
        try:
            sign(node_id)
        except (KeyError, TypeError, IndexError):
            continue  # broken and not needed by any output: validation let it pass
    return found


def _file_content(node: dict[str, Any], folders: Folders) -> str:
    if node["class_type"] != "LoadImage":
        return ""
    path = folders.annotated_path(node["inputs"]["image"])
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
