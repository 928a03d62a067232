"""Generation jobs.

What a tenant may ask for, and the rules of retry. The rows live in catalog/ledger/.

A generation job is one picture or one clip; a Dagster run drains many of them.
"""

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import Field

from influencerai_dagster.domain.base import Value
from influencerai_dagster.domain.sampling import AspectRatio, Strength

MAX_ATTEMPTS = 3
TimeoutSeconds = Annotated[float, Field(gt=0, le=86_400)]
FileName = Annotated[str, Field(min_length=1, max_length=255)]
_PROMPT_ID_NAMESPACE = UUID("6f0f2e1c-8f0b-5d43-9a53-3f6a4c1a7b10")


class JobKind(StrEnum):
    """What a job makes."""

    IMAGE = "image"
    VIDEO = "video"


class JobStatus(StrEnum):
    """Where a job is: pending → running → completed | failed | cancelled."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class LoraReference(Value):
    """A LoRA that a job asks for: the newest of a dataset of the same tenant, or one by its id."""

    dataset: str
    lora_id: str | None = None
    strength_model: Strength = 1.0
    strength_clip: Strength = 1.0


class ImageJobPayload(Value):
    """What an image job asks for; what is None is taken from the LoRA's base model family.

    Attributes:
        seed: None draws one when the job is submitted.
        workflow: name of a shipped template, or of the tenant's own at
            `workflows/<tenant>/<name>.json`; None chooses by family.
        timeout_seconds: the render is stopped after so long; None is COMFYUI_TIMEOUT.
    """

    kind: Literal[JobKind.IMAGE] = JobKind.IMAGE
    prompt: Annotated[str, Field(min_length=1, max_length=8000)]
    negative_prompt: Annotated[str, Field(max_length=8000)] = ""
    loras: tuple[LoraReference, ...] = ()
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    cfg: Annotated[float, Field(ge=0, le=100)] | None = None
    sampler_name: FileName | None = None
    scheduler: FileName | None = None
    width_px: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] | None = None
    height_px: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] | None = None
    base_model: FileName | None = None
    workflow: str | None = None
    timeout_seconds: TimeoutSeconds | None = None


class VideoJobPayload(Value):
    """What a video job asks for.

    A clip that starts from the picture of an image job of the same tenant.
    """

    kind: Literal[JobKind.VIDEO] = JobKind.VIDEO
    source_job_id: UUID
    aspect_ratio: AspectRatio = "9:16"
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    num_frames: Annotated[int, Field(ge=2, le=1000)] = 25
    fps: Annotated[int, Field(ge=1, le=60)] = 6
    motion_bucket_id: Annotated[int, Field(ge=1, le=1023)] = 127
    base_model: FileName | None = None
    workflow: str | None = None
    timeout_seconds: TimeoutSeconds | None = None


JobPayload = Annotated[ImageJobPayload | VideoJobPayload, Field(discriminator="kind")]


class JobRequest(Value):
    """One job as a caller submits it.

    Attributes:
        idempotency_key: the same key of the same tenant twice is one job.
        priority: 0 (last) to 9 (first), within the tenant.
    """

    payload: JobPayload
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] = 5


def prompt_id(job_id: UUID, claim: int, segment: int = 0) -> str:
    """Return ComfyUI's prompt_id of one claim of a job (1 is the first).

    It can be computed by whoever claims the job next, who asks the servers for it before rendering
    again.

    Args:
        segment: which part of a long clip, 0 is the first and that of every other job.
    """
    name = f"{job_id}/{claim}" if segment == 0 else f"{job_id}/{claim}/{segment}"
    return str(uuid5(_PROMPT_ID_NAMESPACE, name))


def retry_delay_seconds(attempt: int) -> int:
    """Return how long a job waits after its attempt (1-based) failed in passing: 5, 25, 125 s."""
    return int(5 ** min(attempt, MAX_ATTEMPTS))
