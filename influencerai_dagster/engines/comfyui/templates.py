"""Read workflow templates and fill them with the parameters of one job.

Shipped ones are in workflows/ (core nodes only); a tenant may bring its own. Each kind of job has
its nodes and its `fill` function here. graph.py follows the links between nodes; whether a server
can run the result is validation.py.
"""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.sampling import ImageSampling, UpscaleSampling, VideoSampling
from influencerai_dagster.engines.comfyui import template_checks
from influencerai_dagster.engines.comfyui.api_format import read_nodes
from influencerai_dagster.engines.comfyui.graph import Graph, Link, insert_loras, refused
from influencerai_dagster.engines.comfyui.values import Workflow
from influencerai_dagster.errors import PermanentError

_PREFIX_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class ModelFile(NamedTuple):
    """The input of a loader that names a file, and the folder of ComfyUI that has the file."""

    input_name: str
    folder: str


_BASE_MODEL_FILES = {
    "CheckpointLoaderSimple": ModelFile("ckpt_name", "models/checkpoints"),
    "ImageOnlyCheckpointLoader": ModelFile("ckpt_name", "models/checkpoints"),
    "UNETLoader": ModelFile("unet_name", "models/diffusion_models"),
}
MODEL_FILES: Mapping[str, ModelFile] = {
    **_BASE_MODEL_FILES,
    "UpscaleModelLoader": ModelFile("model_name", "models/upscale_models"),
}
"""Loader of the model of a job → where the model's file is named and kept."""
_IMAGE_LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage")
_SAMPLER, _TEXT, _VIDEO = "KSampler", "CLIPTextEncode", "SVD_img2vid_Conditioning"
_UPSCALE = "ImageUpscaleWithModel"


@dataclass(frozen=True, kw_only=True)
class WorkflowNodes:
    """Ids of the nodes that parameters are written into, whatever the workflow makes.

    Attributes:
        image: what loads the image that a job starts from; None if it starts from none.
    """

    model_loader: str
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageNodes(WorkflowNodes):
    """Nodes of a text-to-image workflow, and the outputs that LoRAs go behind."""

    sampler: str
    positive: str
    negative: str
    latent: str
    model: Link
    clip: Link


@dataclass(frozen=True, kw_only=True)
class VideoNodes(WorkflowNodes):
    """Nodes of an image-to-video workflow; `guidance` is optional."""

    image: str
    sampler: str
    conditioning: str
    guidance: str | None


@dataclass(frozen=True, kw_only=True)
class UpscaleNodes(WorkflowNodes):
    """Nodes of an upscale workflow."""

    image: str


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

    @property
    def kind(self) -> JobKind:
        """The kind of job that it renders."""
        return _kind_of(self.graph)

    @property
    def model_loader(self) -> str:
        """The class of the node that loads the job's model."""
        return self.graph.class_of(_NODES[self.kind](self.graph).model_loader)


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
    nodes = read_nodes(name, content)
    graph = Graph(name, nodes)
    kind = _kind_of(graph)
    image = _NODES[kind](graph).image
    problem = next(
        template_checks.problems(nodes, graph, kind, image=image, extra_nodes=extra_nodes), None
    )
    if problem is not None:
        raise refused(name, problem)
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
        PermanentError: the template makes no images, or the prefix leaves the output folder.
    """
    if template.kind is not JobKind.IMAGE:
        made = template.kind.plural
        raise refused(template.name, f"it makes {made}; an image needs a text-to-image template")
    found = image_nodes(template.graph)
    workflow = _copy(template, filename_prefix)
    _write(workflow, found.positive, text=sampling.prompt)
    _write(workflow, found.negative, text=sampling.negative_prompt)
    _write(workflow, found.latent, width=sampling.width_px, height=sampling.height_px, batch_size=1)
    _write_sampler(workflow, found.sampler, sampling, denoise=sampling.denoise)
    _write_model(workflow, found.model_loader, sampling.base_model)
    insert_loras(workflow, sampling.loras, model=found.model, clip=found.clip)
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
        PermanentError: the template makes no videos, or the prefix leaves the output folder.
    """
    if template.kind is not JobKind.VIDEO:
        raise refused(template.name, f"a {_VIDEO} node is missing: a video is made there")
    found = video_nodes(template.graph)
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
    _write_model(workflow, found.model_loader, sampling.base_model)
    return workflow


def fill_upscale_workflow(
    template: WorkflowTemplate, sampling: UpscaleSampling, *, image_name: str, filename_prefix: str
) -> dict[str, Any]:
    """Write the parameters of one upscale into a copy of an upscale template.

    Args:
        template: an upscale template.
        sampling: what is asked for.
        image_name: the image, as `ComfyUIClient.upload_image` returned it.
        filename_prefix: folder and start of the output's name, other for every job and attempt.

    Raises:
        PermanentError: the template makes no upscales, or the prefix leaves the output folder.
    """
    if template.kind is not JobKind.UPSCALE:
        made = template.kind.plural
        raise refused(
            template.name,
            f"it makes {made}; an upscale needs a template with {_UPSCALE} and no {_SAMPLER}",
        )
    found = upscale_nodes(template.graph)
    workflow = _copy(template, filename_prefix)
    _write(workflow, found.image, image=image_name)
    _write_model(workflow, found.model_loader, sampling.upscale_model)
    return workflow


def image_nodes(graph: Graph) -> ImageNodes:
    """Find the nodes of a text-to-image workflow; PermanentError names what is missing."""
    sampler = _sampler(graph)
    positive = graph.upstream(sampler, "positive", (_TEXT,), "the prompt is written there")
    negative = graph.upstream(sampler, "negative", (_TEXT,), "negative_prompt is written there")
    if positive == negative:
        raise refused(
            graph.name,
            f"one {_TEXT} feeds positive and negative of the KSampler; negative_prompt needs a "
            f"{_TEXT} of its own",
        )
    return ImageNodes(
        sampler=sampler,
        positive=positive,
        negative=negative,
        latent=graph.upstream(
            sampler, "latent_image", _IMAGE_LATENTS, "width and height are written there"
        ),
        model_loader=_base_model_loader(graph, sampler),
        model=graph.source(sampler, "model"),
        clip=graph.source(positive, "clip"),
    )


def video_nodes(graph: Graph) -> VideoNodes:
    """Find the nodes of an image-to-video workflow; PermanentError names what is missing."""
    sampler = _sampler(graph)
    why = "size, number of frames and motion are written there"
    conditioning = graph.upstream(sampler, "latent_image", (_VIDEO,), why)
    chain = [node_id for node_id, _ in graph.walk(sampler, "model")]
    guidance = [item for item in chain if graph.class_of(item) == "VideoLinearCFGGuidance"]
    return VideoNodes(
        sampler=sampler,
        conditioning=conditioning,
        image=graph.upstream(
            conditioning, "init_image", ("LoadImage",), "the first frame is written there"
        ),
        model_loader=_base_model_loader(graph, sampler),
        guidance=next(iter(guidance), None),
    )


def upscale_nodes(graph: Graph) -> UpscaleNodes:
    """Find the nodes of an upscale workflow; PermanentError names what is missing."""
    upscale = graph.only(_UPSCALE, "the image becomes larger there")
    return UpscaleNodes(
        image=graph.upstream(upscale, "image", ("LoadImage",), "the image is written there"),
        model_loader=graph.upstream(
            upscale, "upscale_model", ("UpscaleModelLoader",), "upscale_model is written there"
        ),
    )


_NODES: Mapping[JobKind, Callable[[Graph], WorkflowNodes]] = {
    JobKind.IMAGE: image_nodes,
    JobKind.VIDEO: video_nodes,
    JobKind.UPSCALE: upscale_nodes,
}


def _kind_of(graph: Graph) -> JobKind:
    """Tell what a workflow makes by its nodes; an image may be enlarged after its sampler."""
    if graph.ids_of(_VIDEO):
        return JobKind.VIDEO
    if graph.ids_of(_UPSCALE) and not graph.ids_of(_SAMPLER):
        return JobKind.UPSCALE
    return JobKind.IMAGE


def _sampler(graph: Graph) -> str:
    why = "seed, steps, cfg, sampler_name and scheduler are written there"
    return graph.only(_SAMPLER, why)


def _base_model_loader(graph: Graph, sampler: str) -> str:
    why = "base_model is written there"
    return graph.upstream(sampler, "model", tuple(_BASE_MODEL_FILES), why)


def workflow_sha256(workflow: Workflow) -> str:
    """Return the SHA-256 of a workflow, 64 hex digits; the order of keys does not matter."""
    text = json.dumps(workflow, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


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


def _write_model(workflow: dict[str, Any], loader: str, file_name: str) -> None:
    _write(workflow, loader, **{MODEL_FILES[workflow[loader]["class_type"]].input_name: file_name})
