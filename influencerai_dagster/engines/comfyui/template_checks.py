"""Check a workflow template before anything renders.

Refused are nodes that a tenant may not use, and templates that would give no output, or more than
one. templates.py reads and fills templates.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.names import nearest
from influencerai_dagster.engines.comfyui.graph import Graph
from influencerai_dagster.engines.comfyui.tenant_nodes import (
    IMAGE_SAVERS,
    TENANT_NODES,
    VIDEO_SAVERS,
)

_MULTIPLIERS = {"RepeatLatentBatch": "amount", "RepeatImageBatch": "amount"}
_JOINERS = ("ImageBatch", "LatentBatch")
_PICKERS = ("ImageFromBatch", "LatentFromBatch")


def problems(
    nodes: Mapping[str, Any],
    graph: Graph,
    kind: JobKind,
    *,
    image: str | None,
    extra_nodes: Collection[str],
) -> Iterator[str]:
    """Yield the problems of a template whose nodes have the right form.

    Args:
        nodes: id → {"class_type": …, "inputs": {…}}.
        graph: of the same nodes.
        kind: what it makes.
        image: the node that loads the image which a job starts from; None if it starts from none.
        extra_nodes: classes that tenants may use beside `TENANT_NODES`.
    """
    for node_id in nodes:
        name = graph.class_of(node_id)
        if name not in TENANT_NODES and name not in extra_nodes and node_id != image:
            yield _not_allowed(name, node_id, extra_nodes)
    yield from _saver_problems(nodes, graph, kind, extra_nodes)
    if kind is not JobKind.VIDEO:
        yield from _batch_problems(nodes, graph, kind)


def _not_allowed(name: str, node_id: str, extra_nodes: Collection[str]) -> str:
    meant = nearest(name, (*TENANT_NODES, *extra_nodes), cutoff=0.8)
    hint = "" if meant is None else f" Did you mean {meant}?"
    return (
        f"take {name[:80]} {node_id[:40]} out: on a server that tenants share, a workflow may use "
        "nodes of ComfyUI itself that read and write no files (LoRAs and images come from the "
        f"job).{hint} The operator can allow more in COMFYUI_TENANT_NODES"
    )


def _saver_problems(
    nodes: Mapping[str, Any], graph: Graph, kind: JobKind, extra_nodes: Collection[str]
) -> Iterator[str]:
    """Yield why a render would give no output, or several."""
    is_video = kind is JobKind.VIDEO
    images = graph.ids_of(*IMAGE_SAVERS)
    videos = graph.ids_of(*VIDEO_SAVERS)
    others = [
        node_id
        for node_id in graph.ids_of(*extra_nodes)
        if "filename_prefix" in nodes[node_id]["inputs"]
    ]
    if not is_video and videos:
        named = ", ".join(f"{graph.class_of(item)} {item}" for item in videos)
        yield f"take {named} out: an {kind} job gives one image"
    for saving in (images, videos):
        if len(saving) > 1:
            yield (
                f"it has {len(saving)} {graph.class_of(saving[0])} nodes ({', '.join(saving)}); "
                "keep the one that saves the result and let PreviewImage show the others"
            )
    if not images and not others and not (is_video and videos):
        wanted = "a SaveImage or SaveVideo node" if is_video else "a SaveImage node"
        yield f"{wanted} is missing: without it no file comes back"


def _batch_problems(nodes: Mapping[str, Any], graph: Graph, kind: JobKind) -> Iterator[str]:
    """Yield the nodes that would make several images of one; a job gives one image."""
    needed = graph.upstream_of(graph.ids_of(*IMAGE_SAVERS))
    if any(node_id in needed for node_id in graph.ids_of(*_PICKERS)):
        return  # how many are left is known only while it runs
    for node_id in graph.ids_of(*_MULTIPLIERS, *_JOINERS):
        name = graph.class_of(node_id)
        times = nodes[node_id]["inputs"].get(_MULTIPLIERS.get(name, ""), 2)
        if node_id in needed and times != 1:
            yield (
                f"take {name} {node_id} out: it makes several images, and an {kind} job gives one; "
                "submit a job for each image"
            )
