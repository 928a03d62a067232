"""Find nodes of a workflow by its links, from one node upstream, and insert LoRAs between them.

Titles and node ids are not used: a tenant's own template may number and name its nodes freely.
templates.py says which nodes each kind of workflow has, and fills them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from influencerai_dagster.core.sampling import LoraUse
from influencerai_dagster.errors import PermanentError

Link: TypeAlias = tuple[str, int]
"""Node id and output slot."""


def refused(name: str, problem: str) -> PermanentError:
    """Return the error of a template that cannot be used."""
    return PermanentError(f"workflow template {name[:200]!r} cannot be used: {problem}")


def as_link(value: Any) -> Link | None:  # noqa: ANN401 - any input value
    """Return `["4", 0]` as a link, or None if the value is a literal."""
    match value:
        case [str() as node_id, int() as slot] if not isinstance(slot, bool):
            return node_id, slot
    return None


def links_of(inputs: Any) -> set[str]:  # noqa: ANN401 - any JSON
    """Return the ids of the nodes that inputs are linked to; none if it is not an object."""
    values = inputs.values() if isinstance(inputs, dict) else ()
    return {link[0] for value in values if (link := as_link(value))}


class Graph:
    """A workflow's nodes, and where their inputs come from.

    Args:
        name: the template's name, for error texts.
        nodes: id → {"class_type": …, "inputs": {…}}, already checked for that form.
    """

    def __init__(self, name: str, nodes: Mapping[str, Any]) -> None:
        self.name = name
        self._nodes = nodes

    def class_of(self, node_id: str) -> str:
        """Return the class of a node."""
        return str(self._nodes[node_id]["class_type"])

    def ids_of(self, *classes: str) -> list[str]:
        """Return the nodes of these classes."""
        return [node_id for node_id in self._nodes if self.class_of(node_id) in classes]

    def only(self, node_class: str, why: str) -> str:
        """Return the one node of a class; PermanentError says what is written there."""
        found = self.ids_of(node_class)
        if len(found) != 1:
            raise refused(
                self.name,
                f"it has {len(found)} {node_class} nodes and needs exactly one: {why}",
            )
        return found[0]

    def upstream_of(self, node_ids: Iterable[str]) -> set[str]:
        """Return these nodes and all that they take inputs from."""
        needed: set[str] = set()
        waiting = list(node_ids)
        while waiting:
            node_id = waiting.pop()
            if node_id in self._nodes and node_id not in needed:
                needed.add(node_id)
                waiting.extend(links_of(self._nodes[node_id]["inputs"]))
        return needed

    def upstream(self, start: str, name: str, classes: tuple[str, ...], why: str) -> str:
        """Return the first node of one of these classes that `start`'s input comes from."""
        seen = []
        for node_id, _ in self.walk(start, name):
            if self.class_of(node_id) in classes:
                return node_id
            seen.append(self.class_of(node_id))
        found = f"leads to {' ← '.join(seen)}" if seen else "is not linked to any node"
        raise refused(
            self.name,
            f"a {' or '.join(classes)} node is missing: {why}, but {name!r} of "
            f"{self.class_of(start)} {start} {found}",
        )

    def source(self, start: str, name: str) -> Link:
        """Return the output at the upstream end of an input."""
        links = list(self.walk(start, name))
        if not links:
            raise refused(
                self.name, f"{name!r} of {self.class_of(start)} {start} is not linked to a node"
            )
        return links[-1]

    def walk(self, start: str, name: str) -> Iterator[Link]:
        """Follow one kind of input upstream: model to model, conditioning to conditioning."""
        names = {
            "positive": ("conditioning", "positive"),
            "negative": ("conditioning", "negative"),
            "latent_image": ("samples", "latent"),
            "init_image": ("image", "images", "pixels"),
            "image": ("image", "images", "pixels"),
        }.get(name, (name,))
        seen = {start}
        link = as_link(self._nodes[start]["inputs"].get(name))
        while link is not None:
            if link[0] not in self._nodes or link[0] in seen:
                raise refused(
                    self.name,
                    f"{name!r} of {self.class_of(start)} {start} leads to node {link[0]!r}, which "
                    "is not in the workflow or feeds itself",
                )
            yield link
            seen.add(link[0])
            inputs = self._nodes[link[0]]["inputs"]
            link = next((up for item in names if (up := as_link(inputs.get(item)))), None)


def insert_loras(
    workflow: dict[str, Any], loras: tuple[LoraUse, ...], *, model: Link, clip: Link
) -> None:
    """Chain LoraLoaders behind the base model, and feed everything it fed from the last of them.

    Args:
        workflow: changed in place.
        loras: in the order in which they are applied; none leaves the workflow as it is.
        model: the base model's output.
        clip: the text encoder's output.
    """
    last_model, last_clip = model, clip
    added: dict[str, Any] = {}
    for lora in loras:
        node_id = _free_id(workflow, added)
        added[node_id] = {
            "class_type": "LoraLoader",
            "inputs": {
                "model": list(last_model),
                "clip": list(last_clip),
                "lora_name": lora.lora_name,
                "strength_model": float(lora.strength_model),
                "strength_clip": float(lora.strength_clip),
            },
        }
        last_model, last_clip = (node_id, 0), (node_id, 1)
    replaced = {model: last_model, clip: last_clip}
    for node in workflow.values():
        for name, value in node["inputs"].items():
            link = as_link(value)
            if link in replaced:
                node["inputs"][name] = list(replaced[link])
    workflow.update(added)


def _free_id(workflow: dict[str, Any], added: dict[str, Any]) -> str:
    number = len(added) + 1
    while (node_id := f"lora{number}") in workflow or node_id in added:
        number += 1
    return node_id
