"""Read workflow templates and fill them with the parameters of one job.

Shipped ones are in workflows/ (API format, core nodes only); a tenant may bring its own. Which node
takes which parameter is found in graph.py; whether a server can run the result is validation.py.
"""

import copy
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, NoReturn

from influencerai_dagster.core.sampling import ImageSampling, LoraUse, VideoSampling
from influencerai_dagster.engines.comfyui import template_checks
from influencerai_dagster.engines.comfyui.graph import Graph, Link, as_link
from influencerai_dagster.engines.comfyui.values import Workflow
from influencerai_dagster.errors import PermanentError

MAX_TEMPLATE_BYTES = 1024**2
_MAX_DEPTH = 20  # a link is at depth 4
_PREFIX_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class WorkflowTemplate:
    """A workflow in API format that parameters are written into; its nodes are never changed.

    Attributes:
        is_shipped: it comes with this package, so it names no file of any tenant.
    """

    name: str
    nodes: Mapping[str, Any]
    is_shipped: bool = False

    @property
    def graph(self) -> Graph:
        """The nodes by what they are for."""
        return Graph(self.name, self.nodes)


@cache
def shipped_template_names() -> tuple[str, ...]:
    """Return the names of the templates in this package."""
    folder = files(__package__) / "workflows"
    names = (item.name for item in folder.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


@cache
def shipped_template(name: str) -> WorkflowTemplate:
    """Return a template of this package; PermanentError lists them if it is none."""
    if name not in shipped_template_names():
        raise PermanentError(
            f"there is no shipped workflow template {name[:80]!r}; there are "
            f"{', '.join(shipped_template_names())}"
        )
    content = (files(__package__) / "workflows" / f"{name}.json").read_bytes()
    return replace(parse_template(name, content), is_shipped=True)


def parse_template(
    name: str, content: str | bytes, extra_nodes: Collection[str] = ()
) -> WorkflowTemplate:
    """Read a template that a tenant brought.

    Args:
        name: the template's, for error texts.
        content: a workflow in ComfyUI's API format.
        extra_nodes: node classes that it may use beside `TENANT_NODES`.

    Raises:
        PermanentError: it is not a workflow in API format, a node that a parameter goes into is
            missing, it uses a class that tenants may not use, or it would not give one output; the
            text names the node class and the reason.
    """
    nodes = _api_format(name, _load(name, content))
    graph = Graph(name, nodes)
    if not graph.is_video:
        graph.image_nodes()
    problem = next(template_checks.problems(nodes, graph, extra_nodes), None)
    if problem is not None:
        _refuse(name, problem)
    return WorkflowTemplate(name, nodes)


def fill_image_workflow(
    template: WorkflowTemplate, sampling: ImageSampling, *, filename_prefix: str
) -> dict[str, Any]:
    """Write the parameters of one image into a copy of a text-to-image template.

    Args:
        template: a text-to-image template.
        sampling: what is asked for.
        filename_prefix: folder and start of the output's name, other for every job and attempt.

    Raises:
        PermanentError: the template makes videos, or the prefix leaves the output folder.
    """
    if template.graph.is_video:
        _refuse(template.name, "it makes videos; an image needs a text-to-image template")
    found = template.graph.image_nodes()
    workflow = _copy(template, filename_prefix)
    _write(workflow, found.positive, text=sampling.prompt)
    _write(workflow, found.negative, text=sampling.negative_prompt)
    _write(workflow, found.latent, width=sampling.width_px, height=sampling.height_px, batch_size=1)
    _write_sampler(workflow, found.sampler, sampling, denoise=sampling.denoise)
    _write_base_model(template, workflow, found.model_loader, sampling.base_model)
    _insert_loras(workflow, sampling.loras, model=found.model, clip=found.clip)
    return workflow


def fill_video_workflow(
    template: WorkflowTemplate, sampling: VideoSampling, *, image_name: str, filename_prefix: str
) -> dict[str, Any]:
    """Write the parameters of one video into a copy of an image-to-video template.

    Args:
        template: an image-to-video template.
        sampling: what is asked for.
        image_name: the first frame, as `ComfyUIClient.upload_image` returned it.
        filename_prefix: folder and start of the frames' names, other for every job and attempt.

    Raises:
        PermanentError: the template makes images, or the prefix leaves the output folder.
    """
    if not template.graph.is_video:
        _refuse(template.name, "a SVD_img2vid_Conditioning node is missing: a video is made there")
    found = template.graph.video_nodes()
    workflow = _copy(template, filename_prefix)
    _write(workflow, found.image, image=image_name)
    _write(
        workflow,
        found.conditioning,
        width=sampling.width_px,
        height=sampling.height_px,
        video_frames=sampling.num_frames,
        motion_bucket_id=sampling.motion_bucket_id,
        fps=sampling.fps,
        augmentation_level=float(sampling.augmentation_level),
    )
    if found.guidance is not None:
        _write(workflow, found.guidance, min_cfg=float(sampling.min_cfg))
    _write_sampler(workflow, found.sampler, sampling, denoise=1.0)
    _write_base_model(template, workflow, found.model_loader, sampling.base_model)
    return workflow


def workflow_sha256(workflow: Workflow) -> str:
    """Return the SHA-256 of a workflow, 64 hex digits; the order of keys does not matter."""
    text = json.dumps(workflow, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _load(name: str, content: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    if len(content) > MAX_TEMPLATE_BYTES:
        _refuse(name, f"it has {len(content)} bytes; at most {MAX_TEMPLATE_BYTES} are read")
    try:
        text = content if isinstance(content, str) else content.decode()
        workflow = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        _refuse(name, "it is nested too deeply")
    except ValueError as error:
        _refuse(name, f"it is not JSON in UTF-8 ({error})")
    level = [workflow]
    for _ in range(_MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
    if level:
        _refuse(name, f"it is nested too deeply: at most {_MAX_DEPTH} levels are read")
    return workflow


def _items(value: Any) -> Collection[Any]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _api_format(name: str, workflow: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(workflow, dict) or not workflow:
        _refuse(name, "it is not an object of nodes")
    if isinstance(workflow.get("nodes"), list):
        _refuse(
            name, "it is in the format of ComfyUI's editor; export it there with 'Export (API)'"
        )
    if len(workflow) > template_checks.MAX_NODES:
        _refuse(name, f"it has {len(workflow)} nodes; at most {template_checks.MAX_NODES} are used")
    for node_id, node in workflow.items():
        match node:
            case {"class_type": str(), "inputs": dict()}:
                continue
        _refuse(name, f"node {node_id[:40]!r} has no class_type or no inputs (API format)")
    return workflow


def _refuse(name: str, problem: str) -> NoReturn:
    raise PermanentError(f"workflow template {name[:200]!r} cannot be used: {problem}")


def _copy(template: WorkflowTemplate, filename_prefix: str) -> dict[str, Any]:
    parts = filename_prefix.split("/")
    if not all(_PREFIX_PART.fullmatch(part) for part in parts):
        raise PermanentError(
            f"filename_prefix {filename_prefix[:200]!r} is not allowed: use a relative path of "
            "names like demo/2026-11-23/job-1, without '..'"
        )
    workflow = copy.deepcopy(dict(template.nodes))
    for node in workflow.values():
        if "filename_prefix" in node["inputs"]:
            node["inputs"]["filename_prefix"] = filename_prefix
    return workflow


def _write(workflow: dict[str, Any], node_id: str, **inputs: str | float) -> None:
    workflow[node_id]["inputs"].update(inputs)


def _write_sampler(
    workflow: dict[str, Any],
    node_id: str,
    sampling: ImageSampling | VideoSampling,
    *,
    denoise: float,
) -> None:
    # ComfyUI coerces wrong types silently ("false" becomes true), so real ones are sent.
    _write(
        workflow,
        node_id,
        seed=sampling.seed,
        steps=sampling.steps,
        cfg=float(sampling.cfg),
        sampler_name=sampling.sampler_name,
        scheduler=sampling.scheduler,
        denoise=float(denoise),
    )


def _write_base_model(
    template: WorkflowTemplate, workflow: dict[str, Any], loader: str, base_model: str
) -> None:
    graph = template.graph
    _write(workflow, loader, **{graph.model_file_input(graph.class_of(loader)): base_model})


def _insert_loras(
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
