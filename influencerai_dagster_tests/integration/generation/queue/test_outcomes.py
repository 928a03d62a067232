"""How jobs end."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    backoff_seconds,
    beat,
    claim_all,
    claim_one,
    complete_job,
    end_backoff,
    job_now,
    manifest_key_of,
    output_of,
    submit_one,
    video_request,
)


def _fail(engine: Engine, job: job_queue.ClaimedJob, error: InfluencerAIError) -> job_queue.Job:
    with transaction(engine) as session:
        return job_queue.fail(session, job.id, job.lease_token, error, gpu_seconds=1.5)


def _complete_with(engine: Engine, job: job_queue.ClaimedJob, output: OutputManifest) -> None:
    with transaction(engine) as session:
        job_queue.complete(session, job.id, job.lease_token, output, manifest_key_of(job))


def _running_video(engine: Engine) -> job_queue.ClaimedJob:
    image = submit_one(engine)
    complete_job(engine, claim_one(engine))
    submit_one(engine, video_request(image.id))
    return claim_one(engine, kind=JobKind.VIDEO)


def test_completing_a_job_records_its_output(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    output = output_of(job)
    with transaction(engine) as session:
        key = manifest_key_of(job)
        asset = job_queue.complete(
            session, job.id, job.lease_token, output, key, cost_usd=Decimal("0.0125")
        )
    assert asset.file == output.file
    assert (asset.tenant, asset.job_id, asset.manifest_key) == ("demo", job.id, key)
    assert (asset.width_px, asset.height_px, asset.duration_seconds) == (512, 768, None)
    done = job_now(engine, job)
    assert (done.status, done.lease_owner, done.lease_expires_at) == (
        JobStatus.COMPLETED,
        None,
        None,
    )
    assert (done.gpu_seconds, done.cost_usd) == (2.5, Decimal("0.0125"))
    assert done.result is not None
    assert done.result["object_key"] == output.file.object_key
    assert done.finished_at is not None


def test_a_video_is_recorded_with_its_duration(engine: Engine) -> None:
    assert complete_job(engine, _running_video(engine)).duration_seconds == 4.2


def test_completing_twice_after_a_broken_commit_changes_nothing(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    asset = complete_job(engine, job)
    before = job_now(engine, job)
    assert complete_job(engine, job) == asset
    assert job_now(engine, job) == before


def test_completing_twice_with_another_file_is_refused(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    complete_job(engine, job)
    file = output_of(job).file.model_copy(update={"sha256": sha256_hex(b"another")})
    with pytest.raises(job_queue.LeaseLostError):
        _complete_with(engine, job, output_of(job, file=file))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"job_id": uuid4()}, id="another job"),
        pytest.param({"tenant": "other"}, id="another tenant"),
        pytest.param({"kind": "video"}, id="another kind"),
    ],
)
def test_an_output_of_something_else_is_refused(engine: Engine, changes: dict[str, Any]) -> None:
    submit_one(engine)
    job = claim_one(engine)
    with pytest.raises(PermanentError, match="the output is of"):
        _complete_with(engine, job, output_of(job, **changes))
    assert job_now(engine, job) == _as_job(job)


def test_an_output_that_the_catalog_refuses_leaves_the_job_running(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    foreign = StoredFile(
        object_key=f"images/other/{job.id}/output.png", sha256=sha256_hex(b"x"), size_bytes=1
    )
    with pytest.raises(PermanentError, match="object_key_of_tenant"):
        _complete_with(engine, job, output_of(job, file=foreign))
    assert job_now(engine, job) == _as_job(job)


def test_a_transaction_that_breaks_after_complete_has_written_neither_half(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)

    def complete_and_break() -> None:
        with transaction(engine) as session:
            job_queue.complete(
                session, job.id, job.lease_token, output_of(job), manifest_key_of(job)
            )
            raise KeyError

    with pytest.raises(KeyError):
        complete_and_break()
    assert job_now(engine, job) == _as_job(job)
    with transaction(engine) as session:
        assert job_queue.media_asset_of_job(session, "demo", job.id) is None


@pytest.mark.parametrize("error_class", [TransientError, InsufficientStorageError])
def test_passing_failures_wait_5_then_25_seconds_and_the_third_is_the_last(
    engine: Engine, error_class: type[InfluencerAIError]
) -> None:
    submit_one(engine)
    for attempt, delay_seconds in ((1, 5), (2, 25)):
        job = claim_one(engine)
        assert job.attempt == attempt
        with transaction(engine) as session:
            error = error_class("ComfyUI is away")
            waiting = job_queue.fail(session, job.id, job.lease_token, error, gpu_seconds=1.5)
            assert waiting.status is JobStatus.PENDING
            assert backoff_seconds(session, waiting) == delay_seconds
        end_backoff(engine)
    failed = _fail(engine, claim_one(engine), error_class("ComfyUI is away"))
    assert (failed.status, failed.error) == (JobStatus.FAILED, "ComfyUI is away")
    assert (failed.error_class, failed.gpu_seconds) == (error_class.__name__, 4.5)
    assert failed.finished_at is not None


def test_a_permanent_error_fails_the_job_at_once(engine: Engine) -> None:
    submit_one(engine)
    failed = _fail(engine, claim_one(engine), PermanentError("no such sampler"))
    assert (failed.status, failed.attempt, failed.error) == (
        JobStatus.FAILED,
        1,
        "no such sampler",
    )


def test_a_job_that_completes_in_the_end_has_no_error_left(engine: Engine) -> None:
    submit_one(engine)
    _fail(engine, claim_one(engine), TransientError("away"))
    end_backoff(engine)
    job = claim_one(engine)
    complete_job(engine, job)
    done = job_now(engine, job)
    assert (done.status, done.error, done.error_class) == (JobStatus.COMPLETED, None, None)
    assert done.gpu_seconds == 4.0


@pytest.mark.parametrize(
    ("message", "kept"),
    [("a\0b", "a�b"), ("x" * 9000, "x" * 4000), ("", "PermanentError")],
    ids=["nul", "long", "empty"],
)
def test_any_error_text_can_be_kept(engine: Engine, message: str, kept: str) -> None:
    submit_one(engine)
    assert _fail(engine, claim_one(engine), PermanentError(message)).error == kept


def test_the_videos_of_a_job_that_failed_fail_with_its_reason(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    other = submit_one(engine, video_request(submit_one(engine).id))
    _fail(engine, claim_one(engine, limit=1), PermanentError("no such sampler"))
    failed = job_now(engine, video)
    assert failed.status is JobStatus.FAILED
    assert failed.error == (
        f"the image job {image.id} that it starts from did not complete (failed): no such sampler"
    )
    assert job_now(engine, other).status is JobStatus.PENDING


def test_a_sweep_fails_the_video_that_came_while_its_image_failed(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    with transaction(engine) as session:  # as if the video was not yet visible to fail()
        session.execute(
            text("UPDATE jobs SET status='failed', error='x', finished_at=now() WHERE id = :id"),
            {"id": image.id},
        )
    with transaction(engine) as session:
        assert job_queue.fail_dependents(session) == 1
        assert job_queue.fail_dependents(session) == 0
    assert job_now(engine, video).status is JobStatus.FAILED


def test_a_pending_job_that_is_cancelled_is_never_claimed(engine: Engine) -> None:
    job = submit_one(engine)
    with transaction(engine) as session:
        assert job_queue.cancel(session, "demo", job.id).status is JobStatus.CANCELLED
    assert claim_all(engine) == []


def test_an_error_of_an_earlier_attempt_is_not_shown_while_the_job_runs_again_or_is_cancelled(
    engine: Engine,
) -> None:
    submitted = submit_one(engine)
    waiting = _fail(engine, claim_one(engine), TransientError("lost prompt"))
    assert (waiting.error, waiting.error_class) == ("lost prompt", "TransientError")
    end_backoff(engine)
    again = claim_one(engine)
    running = job_now(engine, submitted)
    assert (running.error, running.error_class) == (None, None)
    _fail(engine, again, TransientError("lost again"))
    with transaction(engine) as session:
        cancelled = job_queue.cancel(session, submitted.tenant, submitted.id)
    assert (cancelled.status, cancelled.error) == (JobStatus.CANCELLED, None)


def test_the_worker_of_a_cancelled_job_learns_it_and_can_write_nothing(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    with transaction(engine) as session:
        job_queue.cancel(session, "demo", job.id)
    with transaction(engine) as session:
        assert beat(session, job) is JobStatus.CANCELLED
    with pytest.raises(job_queue.LeaseLostError, match="the job is cancelled"):
        complete_job(engine, job)
    with pytest.raises(job_queue.LeaseLostError):
        _fail(engine, job, TransientError("interrupted"))
    assert job_now(engine, job).status is JobStatus.CANCELLED


def test_cancelling_an_image_fails_its_video(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    with transaction(engine) as session:
        job_queue.cancel(session, "demo", image.id)
    assert "(cancelled)" in (job_now(engine, video).error or "")


def test_cancelling_what_has_ended_changes_nothing(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    complete_job(engine, job)
    before = job_now(engine, job)
    with transaction(engine) as session:
        assert job_queue.cancel(session, "demo", job.id) == before


def test_a_tenant_cannot_cancel_the_job_of_another(engine: Engine) -> None:
    job = submit_one(engine)
    with (
        pytest.raises(PermanentError, match=f"'other' has no job {job.id}"),
        transaction(engine) as session,
    ):
        job_queue.cancel(session, "other", job.id)
    assert job_now(engine, job).status is JobStatus.PENDING


def test_a_job_that_does_not_exist_cannot_be_completed(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    nowhere = uuid4()
    with pytest.raises(PermanentError, match=f"no job {nowhere}"), transaction(engine) as session:
        job_queue.complete(session, nowhere, 1, output_of(job), manifest_key_of(job))


def _as_job(job: job_queue.ClaimedJob) -> job_queue.Job:
    fields = dict(vars(job))
    del fields["lease_token"], fields["is_front"]
    return job_queue.Job(**fields)


def test_outputs_count_to_the_day_of_their_job(engine: Engine) -> None:
    video = _running_video(engine)
    complete_job(engine, video)
    assert job_now(engine, video).day == DAY
