"""Find the nodes of a workflow that parameters are written into, by its links from the KSampler.

Titles and node ids are not used: a tenant's own template may number and name its nodes freely.
templates.py fills the nodes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from influencerai_dagster.errors import PermanentError

Link: TypeAlias = tuple[str, int]
"""Node id and output slot."""

_MODEL_FILES = {
    "CheckpointLoaderSimple": "ckpt_name",
    "ImageOnlyCheckpointLoader": "ckpt_name",
    "UNETLoader": "unet_name",
}
_IMAGE_LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage")
_TEXT, _VIDEO = "CLIPTextEncode", "SVD_img2vid_Conditioning"


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


@dataclass(frozen=True)
class ImageNodes:
    """Ids of the nodes of a text-to-image workflow, and the outputs that LoRAs go behind."""

    sampler: str
    positive: str
    negative: str
    latent: str
    model_loader: str
    model: Link
    clip: Link


@dataclass(frozen=True)
class VideoNodes:
    """Ids of the nodes of an image-to-video workflow; `guidance` is optional."""

    sampler: str
    conditioning: str
    image: str
    model_loader: str
    guidance: str | None


class Graph:
    """A workflow's nodes, and where their inputs come from.

    Args:
        name: the template's name, for error texts.
        nodes: id → {"class_type": …, "inputs": {…}}, already checked for that form.
    """

    def __init__(self, name: str, nodes: Mapping[str, Any]) -> None:
        self._name = name
        self._nodes = nodes

    def class_of(self, node_id: str) -> str:
        """Return the class of a node."""
        return str(self._nodes[node_id]["class_type"])

    def ids_of(self, *classes: str) -> list[str]:
        """Return the nodes of these classes."""
        return [node_id for node_id in self._nodes if self.class_of(node_id) in classes]

    def image_nodes(self) -> ImageNodes:
        """Find the nodes of a text-to-image workflow; PermanentError names what is missing."""
        sampler = self._sampler()
        positive = self._upstream(sampler, "positive", (_TEXT,), "the prompt is written there")
        negative = self._upstream(sampler, "negative", (_TEXT,), "negative_prompt is written there")
        if positive == negative:
            raise self._error(
                f"one {_TEXT} feeds positive and negative of the KSampler; negative_prompt needs a "
                f"{_TEXT} of its own"
            )
        latent = self._upstream(
            sampler, "latent_image", _IMAGE_LATENTS, "width and height are written there"
        )
        return ImageNodes(
            sampler,
            positive,
            negative,
            latent,
            self._model_loader(sampler),
            model=self._source(sampler, "model"),
            clip=self._source(positive, "clip"),
        )

    def video_nodes(self) -> VideoNodes:
        """Find the nodes of an image-to-video workflow; PermanentError names what is missing."""
        sampler = self._sampler()
        why = "size, number of frames and motion are written there"
        conditioning = self._upstream(sampler, "latent_image", (_VIDEO,), why)
        image = self._upstream(
            conditioning, "init_image", ("LoadImage",), "the first frame is written there"
        )
        chain = [node_id for node_id, _ in self._walk(sampler, "model")]
        guidance = [item for item in chain if self.class_of(item) == "VideoLinearCFGGuidance"]
        return VideoNodes(
            sampler, conditioning, image, self._model_loader(sampler), next(iter(guidance), None)
        )

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

    @property
    def is_video(self) -> bool:
        """Whether it makes a video from an image."""
        return bool(self.ids_of(_VIDEO))

    @staticmethod
    def model_file_input(loader_class: str) -> str:
        """Return the input of a loader that names the base model's file."""
        return _MODEL_FILES[loader_class]

    def _sampler(self) -> str:
        samplers = self.ids_of("KSampler")
        if len(samplers) != 1:
            raise self._error(
                f"it has {len(samplers)} KSampler nodes and needs exactly one: seed, steps, cfg, "
                "sampler_name and scheduler are written there"
            )
        return samplers[0]

    def _model_loader(self, sampler: str) -> str:
        return self._upstream(sampler, "model", tuple(_MODEL_FILES), "base_model is written there")

    def _upstream(self, start: str, name: str, classes: tuple[str, ...], why: str) -> str:
        """Return the first node of one of these classes that `start`'s input comes from."""
        seen = []
        for node_id, _ in self._walk(start, name):
            if self.class_of(node_id) in classes:
                return node_id
            seen.append(self.class_of(node_id))
        found = f"leads to {' ← '.join(seen)}" if seen else "is not linked to any node"
        raise self._error(
            f"a {' or '.join(classes)} node is missing: {why}, but {name!r} of "
            f"{self.class_of(start)} {start} {found}"
        )

    def _source(self, start: str, name: str) -> Link:
        links = list(self._walk(start, name))
        if not links:
            raise self._error(f"{name!r} of {self.class_of(start)} {start} is not linked to a node")
        return links[-1]

    def _walk(self, start: str, name: str) -> Iterator[Link]:
        """Follow one kind of input upstream: model to model, conditioning to conditioning."""
        names = {
            "positive": ("conditioning", "positive"),
            "negative": ("conditioning", "negative"),
            "latent_image": ("samples", "latent"),
            "init_image": ("image", "images", "pixels"),
        }.get(name, (name,))
        seen = {start}
        link = as_link(self._nodes[start]["inputs"].get(name))
        while link is not None:
            if link[0] not in self._nodes or link[0] in seen:
                raise self._error(
                    f"{name!r} of {self.class_of(start)} {start} leads to node {link[0]!r}, which "
                    "is not in the workflow or feeds itself"
                )
            yield link
            seen.add(link[0])
            inputs = self._nodes[link[0]]["inputs"]
            link = next((up for item in names if (up := as_link(inputs.get(item)))), None)

    def _error(self, problem: str) -> PermanentError:
        return PermanentError(f"workflow template {self._name!r} cannot be used: {problem}")
