"""What a job may ask for, its prompt ids and its retries."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.generation.jobs import PAYLOADS, JobPayload, UpscaleJobPayload
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue.retry_policy import retry_delay_seconds

PAYLOAD: TypeAdapter[JobPayload] = TypeAdapter(JobPayload)


@given(st.uuids(), st.integers(1, 10), st.integers(1, 10))
def test_every_claim_of_a_job_has_a_prompt_id_that_anyone_can_compute(
    job_id: UUID, claim: int, other: int
) -> None:
    assert UUID(prompt_id(job_id, claim))
    assert (prompt_id(job_id, claim) == prompt_id(job_id, other)) is (claim == other)


@given(st.uuids(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 500), st.integers(0, 500))
def test_every_segment_of_a_claim_has_a_prompt_id_and_the_first_is_the_claims_own(
    job_id: UUID, claim: int, other_claim: int, segment: int, other_segment: int
) -> None:
    is_same = (claim, segment) == (other_claim, other_segment)
    other = prompt_id(job_id, other_claim, other_segment)
    assert (prompt_id(job_id, claim, segment) == other) is is_same
    assert prompt_id(job_id, claim, 0) == prompt_id(job_id, claim)


def test_prompt_ids_of_renders_that_are_under_way_stay_what_they_were() -> None:
    job_id = UUID("6f0f2e1c-8f0b-5d43-9a53-3f6a4c1a7b10")
    assert prompt_id(job_id, 1) == "7c0f5d8a-7d9b-5bb2-b358-21fa226b34c7"


def test_two_jobs_never_share_a_prompt_id() -> None:
    assert prompt_id(uuid4(), 1) != prompt_id(uuid4(), 1)


def test_a_job_waits_longer_after_every_attempt_and_never_longer_than_the_last() -> None:
    assert [retry_delay_seconds(attempt) for attempt in range(1, 6)] == [5, 25, 125, 125, 125]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("image", {"kind": "image", "prompt": "bella", "loras": [{"dataset": "bella"}]}),
        ("video", {"kind": "video", "source_job_id": str(uuid4()), "aspect_ratio": "1:1"}),
        ("upscale", {"kind": "upscale", "source_job_id": str(uuid4()), "upscale_model": "2x.pth"}),
    ],
)
def test_a_payload_comes_back_from_json(kind: str, payload: dict[str, Any]) -> None:
    parsed = PAYLOAD.validate_python(payload)
    assert isinstance(parsed, PAYLOADS[JobKind(kind)])
    assert PAYLOAD.validate_json(parsed.model_dump_json()) == parsed


def test_an_upscale_waits_for_its_image_and_needs_a_model_on_the_server() -> None:
    source_id = uuid4()
    payload = UpscaleJobPayload(source_job_id=source_id)
    assert payload.depends_on == source_id
    assert payload.model_file == "RealESRGAN_x4plus.pth"


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": ""},
        {"prompt": "a" * 8001},
        {"seed": -1},
        {"seed": 2**64},
        {"steps": 0},
        {"cfg": float("nan")},
        {"width_px": 100},
        {"width_px": 8192},
        {"loras": [{"dataset": "bella", "strength_model": 11}]},
        {"loras": [{"dataset": "bella", "tenant": "other"}]},
        {"tenant": "other"},
        {"kind": "audio"},
    ],
    ids=str,
)
def test_a_payload_out_of_bounds_is_refused_by_field(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        PAYLOAD.validate_python({"kind": "image", "prompt": "bella", **changes})
    assert next(iter(changes)) in str(caught.value)
