"""Define generation jobs as tenants submit them: one output each.

Their rows live in generation/queue/; one Dagster run renders many of them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.platforms import (
    PLATFORM_RULES,
    VideoPreset,
    format_for,
    own_aspect_ratio,
    preset_for,
)
from influencerai_dagster.core.sampling import AspectRatio, Strength, UpscaleSampling, VideoFormat
from influencerai_dagster.core.subtitles import MAX_SRT_CHARACTERS, Cue, parse_srt
from influencerai_dagster.generation.segment_plan import (
    MAX_SEGMENTS,
    frames_needed,
    segments_needed,
)

MAX_LORAS = 16
TimeoutSeconds = Annotated[float, Field(gt=0, le=86_400)]
FileName = Annotated[str, Field(min_length=1, max_length=255)]


class LoraReference(Value):
    """A LoRA that a job asks for: the newest of a dataset of the same tenant, or one by its id."""

    dataset: str
    lora_id: str | None = None
    strength_model: Strength = 1.0
    strength_clip: Strength = 1.0


class JobPayloadBase(Value):
    """The fields that the payloads of all kinds have.

    Attributes:
        workflow: name of a shipped template, or of the tenant's own at
            `workflows/<tenant>/<name>.json`; None chooses one.
        timeout_seconds: limit of the render; None is COMFYUI_TIMEOUT.
        MODEL_FIELD: the field that names the model's file.
        DEFAULT_LOADERS: the node classes that load the model in the shipped workflows.
    """

    MODEL_FIELD: ClassVar[str] = "base_model"
    DEFAULT_LOADERS: ClassVar[tuple[str, ...]] = ()
    workflow: str | None = None
    timeout_seconds: TimeoutSeconds | None = None

    @property
    def model_file(self) -> str | None:
        """The model that a server must have; None is the default one."""
        name: str | None = getattr(self, self.MODEL_FIELD)
        return name

    @property
    def lora_references(self) -> tuple[LoraReference, ...]:
        """The LoRAs that the job asks for."""
        return ()

    @property
    def depends_on(self) -> UUID | None:
        """The image job whose output it starts from, and whose end it waits for."""
        return None


class SeededPayload(JobPayloadBase):
    """A payload whose render depends on a seed; None draws one when the job is submitted."""

    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None


class ImageJobPayload(SeededPayload):
    """The fields of an image job; a field that is None is filled by the base model's family."""

    DEFAULT_LOADERS: ClassVar = ("CheckpointLoaderSimple", "UNETLoader")

    kind: Literal[JobKind.IMAGE] = JobKind.IMAGE
    prompt: Annotated[str, Field(min_length=1, max_length=8000)]
    negative_prompt: Annotated[str, Field(max_length=8000)] = ""
    loras: Annotated[tuple[LoraReference, ...], Field(max_length=MAX_LORAS)] = ()
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    cfg: Annotated[float, Field(ge=0, le=100)] | None = None
    sampler_name: FileName | None = None
    scheduler: FileName | None = None
    width_px: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] | None = None
    height_px: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] | None = None
    base_model: FileName | None = None

    @property
    def lora_references(self) -> tuple[LoraReference, ...]:
        """The LoRAs that the job asks for."""
        return self.loras


class VideoJobPayload(SeededPayload):
    """The fields of a video job: the video starts from the image of an image job.

    A payload names a preset or an aspect ratio; the other follows from it.

    Attributes:
        source_job_id: an image job of the same tenant.
        duration_seconds: wanted length; None for num_frames ÷ fps, at most what the preset takes.
        subtitles_srt: text that is burned into the frames, as SRT within the video's length.
        num_frames: frames of one segment; a longer video has several.
        DEFAULT_LOADERS: as in ImageJobPayload.
    """

    DEFAULT_LOADERS: ClassVar = ("ImageOnlyCheckpointLoader",)

    kind: Literal[JobKind.VIDEO] = JobKind.VIDEO
    source_job_id: UUID
    preset: VideoPreset = VideoPreset.INSTAGRAM_REEL
    aspect_ratio: AspectRatio = "9:16"
    duration_seconds: Annotated[float, Field(ge=0.5, allow_inf_nan=False)] | None = None
    subtitles_srt: Annotated[str, Field(max_length=MAX_SRT_CHARACTERS)] | None = None
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    num_frames: Annotated[int, Field(ge=2, le=1000)] = 25
    fps: Annotated[int, Field(ge=1, le=60)] = 6
    motion_bucket_id: Annotated[int, Field(ge=1, le=1023)] = 127
    base_model: FileName | None = None

    @property
    def depends_on(self) -> UUID:
        """The image job that the video starts from."""
        return self.source_job_id

    @property
    def video_seconds(self) -> float:
        """How long the video is to be."""
        if self.duration_seconds is not None:
            return self.duration_seconds
        longest = PLATFORM_RULES[self.preset].max_duration_seconds
        return min(self.num_frames / self.fps, float(longest))

    @property
    def num_segments(self) -> int:
        """How many renders the video is made of."""
        return segments_needed(frames_needed(self.video_seconds, self.fps), self.num_frames)

    @property
    def video_format(self) -> VideoFormat:
        """Size, frame rate and longest time of the MP4."""
        return format_for(self.preset, self.aspect_ratio)

    @property
    def cues(self) -> tuple[Cue, ...]:
        """The subtitles; none if there is no text."""
        return () if self.subtitles_srt is None else parse_srt(self.subtitles_srt)

    @model_validator(mode="before")
    @classmethod
    def _complete_format(cls, data: Any) -> Any:  # noqa: ANN401 - what a caller sent
        if not isinstance(data, dict):
            return data
        fields = dict(data)
        if fields.get("preset") is None:
            fields["preset"] = preset_for(fields.get("aspect_ratio"))
        if fields.get("aspect_ratio") is None:
            fields["aspect_ratio"] = own_aspect_ratio(fields["preset"]) or "9:16"
        return fields

    @field_validator("subtitles_srt")
    @classmethod
    def _check_subtitles(cls, text: str | None) -> str | None:
        if text is not None:
            parse_srt(text)
        return text

    @model_validator(mode="after")
    def _check_against_platform(self) -> Self:
        rules = PLATFORM_RULES[self.preset]
        if self.aspect_ratio not in rules.aspect_ratios:
            raise ValueError(
                f"preset {self.preset} is {' or '.join(rules.aspect_ratios)}, but aspect_ratio is "
                f"{self.aspect_ratio}: give one of the two, or two that agree"
            )
        if (self.duration_seconds or 0) > rules.max_duration_seconds:
            raise ValueError(
                f"duration_seconds is {self.duration_seconds:g}, but preset {self.preset} takes at "
                f"most {rules.max_duration_seconds} s"
            )
        if self.num_segments > MAX_SEGMENTS:
            raise ValueError(
                f"{self.video_seconds:g} s at {self.fps} fps are {self.num_segments} segments of "
                f"{self.num_frames} frames; at most {MAX_SEGMENTS} are made: raise num_frames, "
                "or lower fps"
            )
        for number, cue in enumerate(self.cues, start=1):
            if cue.end_ms > round(self.video_seconds * 1000):
                raise ValueError(
                    f"subtitle {number} of subtitles_srt ends at {cue.end_ms / 1000:g} s, but the "
                    f"video is {self.video_seconds:.3f} s long"
                )
        return self


class UpscaleJobPayload(JobPayloadBase):
    """The fields of an upscale job: the image of an image job becomes larger.

    Attributes:
        source_job_id: an image job of the same tenant.
        upscale_model: a file of ComfyUI's models/upscale_models; its name says how many times
            larger the image becomes.
    """

    MODEL_FIELD: ClassVar = "upscale_model"
    DEFAULT_LOADERS: ClassVar = ("UpscaleModelLoader",)

    kind: Literal[JobKind.UPSCALE] = JobKind.UPSCALE
    source_job_id: UUID
    upscale_model: FileName = UpscaleSampling.model_fields["upscale_model"].default

    @property
    def depends_on(self) -> UUID:
        """The image job whose image is enlarged."""
        return self.source_job_id


JobPayload = Annotated[
    ImageJobPayload | VideoJobPayload | UpscaleJobPayload, Field(discriminator="kind")
]
PAYLOADS: Mapping[JobKind, type[JobPayloadBase]] = {
    payload.model_fields["kind"].default: payload for payload in get_args(get_args(JobPayload)[0])
}
"""The payload of each kind of job."""
MODEL_FIELDS = tuple(dict.fromkeys(payload.MODEL_FIELD for payload in PAYLOADS.values()))
"""The fields that name a model; a payload has one of them."""


class JobRequest(Value):
    """One job as a caller submits it.

    Attributes:
        idempotency_key: the same key of the same tenant twice is one job.
        priority: 0 (last) to 9 (first), within the tenant.
    """

    payload: JobPayload
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] = 5


class Need(NamedTuple):
    """The files that a job needs on its server, as far as its row says; empty is the default."""

    model_file: str
    workflow: str
    lora_datasets: tuple[str, ...]
