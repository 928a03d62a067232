"""The one way into the job queue."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import JobRequest, LoraReference
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_one,
    complete_job,
    dataset_manifest,
    image_request,
    lora_manifest,
    submit_one,
    video_request,
)
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES


def _count(engine: Engine) -> int:
    with transaction(engine) as session:
        return sum(job_queue.count_by_status(session).values())


def _refuse(engine: Engine, *requests: JobRequest, tenant: str = "demo", words: str) -> None:
    with pytest.raises(PermanentError, match=words), transaction(engine) as session:
        job_queue.submit(session, tenant, DAY, requests)
    assert _count(engine) == 0


def test_jobs_come_back_pending_in_the_order_they_were_asked_for(engine: Engine) -> None:
    prompts = [f"image {number}" for number in range(30)]
    with transaction(engine) as session:
        jobs = job_queue.submit(session, "demo", DAY, [image_request(prompt) for prompt in prompts])
    assert [job.payload.prompt for job in jobs] == prompts  # type: ignore[union-attr]
    assert [job.number for job in jobs] == sorted(job.number for job in jobs)
    assert {(job.status, job.attempt, job.day) for job in jobs} == {(JobStatus.PENDING, 0, DAY)}


def test_nothing_to_submit_is_no_job(engine: Engine) -> None:
    with transaction(engine) as session:
        assert job_queue.submit(session, "demo", DAY, []) == []


def test_a_seed_left_open_is_drawn_and_a_given_one_kept(engine: Engine) -> None:
    requests = [image_request(), image_request(), image_request(seed=2**64 - 1)]
    with transaction(engine) as session:
        first, second, third = job_queue.submit(session, "demo", DAY, requests)
    drawn, other, given = (job.payload.seed for job in (first, second, third))  # type: ignore[union-attr]
    assert drawn is not None
    assert drawn != other
    assert given == 2**64 - 1


def test_jobs_without_a_key_are_jobs_of_their_own(engine: Engine) -> None:
    assert submit_one(engine).id != submit_one(engine).id


def test_the_same_key_twice_is_one_job_in_one_and_in_two_submissions(engine: Engine) -> None:
    request = image_request(idempotency_key="key")
    with transaction(engine) as session:
        first, second = job_queue.submit(session, "demo", DAY, [request, request])
    assert first == second == submit_one(engine, request)


def test_a_key_belongs_to_its_tenant(engine: Engine) -> None:
    request = image_request(idempotency_key="key")
    assert submit_one(engine, request).id != submit_one(engine, request, "other").id


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(image_request("something else", idempotency_key="key"), id="prompt"),
        pytest.param(image_request(idempotency_key="key", seed=7), id="seed"),
        pytest.param(image_request(idempotency_key="key", loras=["bella"]), id="loras"),
    ],
)
def test_the_same_key_for_another_payload_is_refused(engine: Engine, other: JobRequest) -> None:
    job = submit_one(engine, image_request(idempotency_key="key", seed=6))
    with (
        pytest.raises(PermanentError, match=f"'key' belongs to job {job.id}"),
        transaction(engine) as session,
    ):
        job_queue.submit(session, "demo", DAY, [image_request(), other])
    assert _count(engine) == 1


def test_sixteen_parallel_submissions_of_the_same_keys_make_each_job_once(engine: Engine) -> None:
    keys = [f"key {number}" for number in range(5)]

    def submit(number: int) -> set[UUID]:
        ordered = keys if number % 2 else keys[::-1]
        with transaction(engine) as session:
            requests = [image_request(idempotency_key=key) for key in ordered]
            return {job.id for job in job_queue.submit(session, "demo", DAY, requests)}

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(submit, range(16)))
    assert len(answers[0]) == 5
    assert all(answer == answers[0] for answer in answers)
    assert _count(engine) == 5


def test_the_limit_of_pending_jobs_holds_also_for_parallel_submissions(engine: Engine) -> None:
    def submit(_: int) -> int:
        try:
            with transaction(engine) as session:
                return len(
                    job_queue.submit(
                        session, "demo", DAY, [image_request(), image_request()], max_pending=7
                    )
                )
        except job_queue.TooManyPendingJobsError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(8))) == 6
    assert _count(engine) == 6


def test_the_refusal_of_too_many_jobs_says_how_many_there_may_be(engine: Engine) -> None:
    with (
        pytest.raises(
            PermanentError, match=r"has 0 pending jobs and may have 1 .* none of these 2"
        ),
        transaction(engine) as session,
    ):
        job_queue.submit(session, "demo", DAY, [image_request(), image_request()], max_pending=1)


def test_a_repeat_and_another_tenant_do_not_count_against_the_limit(engine: Engine) -> None:
    request = image_request(idempotency_key="key")
    submit_one(engine, tenant="other")
    with transaction(engine) as session:
        first = job_queue.submit(session, "demo", DAY, [request], max_pending=1)
        assert job_queue.submit(session, "demo", DAY, [request], max_pending=1) == first


def test_an_unknown_tenant_is_refused(engine: Engine) -> None:
    _refuse(engine, image_request(), tenant="nobody", words="influencerai tenant add nobody")


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_name_in_a_reference_is_refused(engine: Engine, name: str) -> None:
    _refuse(engine, image_request(), tenant=name, words="tenant name .* is not allowed")
    _refuse(engine, image_request(loras=[name]), words="dataset name .* is not allowed")
    reference = LoraReference(dataset="bella", lora_id=name)
    _refuse(engine, image_request(loras=[reference]), words="LoRA name .* is not allowed")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(image_request("a\0b"), "prompt", id="prompt"),
        pytest.param(image_request(idempotency_key="a\0b"), "idempotency_key", id="key"),
    ],
)
def test_a_nul_character_is_refused_by_name(
    engine: Engine, request_: JobRequest, field: str
) -> None:
    _refuse(engine, request_, words=f"{field} .* has a NUL character")


def test_a_prompt_that_looks_like_sql_or_json_is_only_a_prompt(engine: Engine) -> None:
    prompt = '\'; DROP TABLE jobs; -- {"a": \\u0000} %s :x ${y} 日本 🏖'
    assert submit_one(engine, image_request(prompt)).payload.prompt == prompt  # type: ignore[union-attr]


def test_one_bad_reference_keeps_all_jobs_out(engine: Engine) -> None:
    _refuse(
        engine, image_request(), image_request(loras=["anna"]), words="'demo' has no dataset 'anna'"
    )


def test_a_dataset_is_known_by_its_photos_or_by_its_influencer(engine: Engine) -> None:
    with transaction(engine) as session:
        record_dataset(session, dataset_manifest(dataset="anna"))
    job = submit_one(engine, image_request(loras=["anna", "bella", "bella"]))
    assert job.lora_datasets == ("anna", "bella")


def test_a_dataset_of_another_tenant_is_unknown(engine: Engine) -> None:
    with transaction(engine) as session:
        record_dataset(session, dataset_manifest("other", "anna"))
    _refuse(engine, image_request(loras=["anna"]), words="'demo' has no dataset 'anna'")


def test_a_lora_named_by_its_id_is_not_waited_for(engine: Engine) -> None:
    with transaction(engine) as session:
        record_lora(session, lora_manifest())
    reference = LoraReference(dataset="bella", lora_id="lora1")
    assert submit_one(engine, image_request(loras=[reference])).lora_datasets == ()


def test_a_lora_of_another_tenant_or_dataset_is_as_unknown_as_none(engine: Engine) -> None:
    with transaction(engine) as session:
        record_lora(session, lora_manifest("other", "foreign"))
        record_lora(session, lora_manifest("demo", "of-anna", dataset="anna"))
    for lora_id in ("foreign", "of-anna", "nothing"):
        reference = LoraReference(dataset="bella", lora_id=lora_id)
        words = f"'demo' has no LoRA '{lora_id}' of dataset 'bella'"
        _refuse(engine, image_request(loras=[reference]), words=words)


def test_a_video_depends_on_the_image_job_that_it_starts_from(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    assert (video.kind, video.depends_on) == (JobKind.VIDEO, image.id)


def test_a_video_starts_from_an_image_job_of_its_own_tenant_only(engine: Engine) -> None:
    foreign = submit_one(engine, tenant="other")
    video = submit_one(engine, video_request(foreign.id), tenant="other")
    for source in (foreign.id, video.id, uuid4()):
        with (
            pytest.raises(PermanentError, match=f"'demo' has no image job '{source}'"),
            transaction(engine) as session,
        ):
            job_queue.submit(session, "demo", DAY, [video_request(source)])


def test_a_video_of_a_job_that_was_cancelled_is_refused(engine: Engine) -> None:
    image = submit_one(engine)
    with transaction(engine) as session:
        job_queue.cancel(session, "demo", image.id)
    with pytest.raises(PermanentError, match=f"{image.id} is cancelled"):
        submit_one(engine, video_request(image.id))


def test_a_video_of_an_image_that_retention_deleted_is_refused(engine: Engine) -> None:
    image = submit_one(engine)
    complete_job(engine, claim_one(engine))
    with transaction(engine) as session:
        session.execute(text("UPDATE media_assets SET deleted_at = '2026-12-01'"))
    with pytest.raises(PermanentError, match="was deleted on 2026-12-01"):
        submit_one(engine, video_request(image.id))
