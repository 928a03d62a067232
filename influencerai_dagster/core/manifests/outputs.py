"""Define an output and its origin, <kind>s/<tenant>/<jobId>/output.json, and the list of a day."""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.job_states import OUTPUT_FOLDERS, JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.object_paths import day_manifest_key
from influencerai_dagster.core.platforms import VideoPreset
from influencerai_dagster.core.sampling import AspectRatio, Sampling
from influencerai_dagster.core.stored_file import Sha256, StoredFile


class LoraIngredient(Value):
    """A LoRA that an output was made with."""

    lora_id: str
    dataset: str
    dataset_version: str
    strength_model: float


class OutputManifest(Value):
    """output.json of one job: everything that is needed to render the file again.

    Attributes:
        poster: first frame of a video, None for an image.
        source_image_key: the image that it was made from; None for an image of a text.
        preset, aspect_ratio: of the platform that a video is made for; None for an image and for
            older videos.
        video: measured facts of a video (codec, fps, duration), None for an image.
        segments: frames of a long video, in order; empty if a single render made it.
        is_simulated: rendered by a simulator.
        prompt_id: ComfyUI's id of the render, the last one of a video of several segments.
        render_seconds: of all segments, also those that an earlier claim rendered.
    """

    tenant: str
    job_id: UUID
    kind: JobKind
    file: StoredFile
    poster: StoredFile | None = None
    width_px: int
    height_px: int
    sampling: Sampling
    source_image_key: str | None = None
    preset: VideoPreset | None = None
    aspect_ratio: AspectRatio | None = None
    segments: tuple[StoredFile, ...] = ()
    video: dict[str, Any] | None = None
    loras: tuple[LoraIngredient, ...] = ()
    workflow_name: str
    workflow_sha256: Sha256
    comfyui_url: str
    comfyui_version: str
    prompt_id: str
    render_seconds: float
    is_simulated: bool
    created_at: datetime


class DayManifest(Value):
    """All outputs of one tenant's day, by job; `version` is their content hash."""

    tenant: str
    day: date
    kind: Annotated[str, Field(pattern=f"^({'|'.join(OUTPUT_FOLDERS)})$")]
    outputs: tuple[StoredFile, ...]

    @property
    def version(self) -> str:
        """The data version: the content of every output."""
        return fingerprint([[item.object_key, item.sha256] for item in self.outputs])

    @property
    def key(self) -> DayKey:
        """The partition whose value this is."""
        return DayKey(self.tenant, self.day)

    def object_key(self) -> str:
        """Return the key of this version."""
        return day_manifest_key(self.kind, self.key, self.version)
