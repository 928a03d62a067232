"""What can be asked of the job queue."""

from datetime import date, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_all,
    claim_one,
    complete_job,
    image_request,
    submit_one,
    video_request,
)

NEXT_DAY = date(2026, 11, 24)


def test_a_job_of_another_tenant_is_as_unknown_as_none(engine: Engine) -> None:
    job = submit_one(engine)
    with transaction(engine) as session:
        assert job_queue.get_job(session, "demo", job.id) == job
        for tenant, job_id in (("other", job.id), ("demo", uuid4())):
            with pytest.raises(PermanentError, match=f"'{tenant}' has no job {job_id}"):
                job_queue.get_job(session, tenant, job_id)


def test_jobs_are_listed_newest_first_page_by_page(engine: Engine) -> None:
    submitted = [submit_one(engine).id for _ in range(5)]
    submit_one(engine, tenant="other")
    with transaction(engine) as session:
        first = job_queue.list_jobs(session, "demo", limit=3)
        second = job_queue.list_jobs(session, "demo", limit=3, before_number=first[-1].number)
    assert [job.id for job in first + second] == submitted[::-1]


def test_a_list_can_be_narrowed_by_day_kind_and_status(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    with transaction(engine) as session:
        (tomorrow,) = job_queue.submit(session, "demo", NEXT_DAY, [image_request()])
    claim_one(engine, day=DAY)
    with transaction(engine) as session:
        by_day = job_queue.list_jobs(session, "demo", day=NEXT_DAY)
        by_kind = job_queue.list_jobs(session, "demo", kind=JobKind.VIDEO)
        by_status = job_queue.list_jobs(session, "demo", status=JobStatus.RUNNING)
    assert [job.id for job in by_day] == [tomorrow.id]
    assert [job.id for job in by_kind] == [video.id]
    assert [job.id for job in by_status] == [image.id]


def test_counts_name_every_status_and_can_be_narrowed(engine: Engine) -> None:
    image = submit_one(engine)
    submit_one(engine, video_request(image.id))
    submit_one(engine, tenant="other")
    claim_one(engine, tenant="demo")
    with transaction(engine) as session:
        assert job_queue.count_by_status(session) == {
            JobStatus.PENDING: 2,
            JobStatus.RUNNING: 1,
            JobStatus.COMPLETED: 0,
            JobStatus.FAILED: 0,
            JobStatus.CANCELLED: 0,
        }
        assert job_queue.count_by_status(session, "other")[JobStatus.PENDING] == 1
        assert job_queue.count_by_status(session, "demo", day=NEXT_DAY)[JobStatus.RUNNING] == 0
        assert job_queue.count_by_status(session, kind=JobKind.IMAGE)[JobStatus.PENDING] == 1


def test_the_outputs_of_a_day_are_those_of_its_tenant_and_kind_in_order(engine: Engine) -> None:
    submitted = [submit_one(engine, image_request(priority=number)).id for number in range(3)]
    submit_one(engine, tenant="other")
    assets = {job.id: complete_job(engine, job) for job in claim_all(engine)}
    with transaction(engine) as session:
        found = job_queue.outputs_of_day(session, DayKey("demo", DAY), JobKind.IMAGE)
        assert found == [assets[job_id].file for job_id in submitted]
        assert job_queue.outputs_of_day(session, DayKey("demo", DAY), JobKind.VIDEO) == []
        assert job_queue.outputs_of_day(session, DayKey("demo", NEXT_DAY), JobKind.IMAGE) == []


def test_outputs_that_retention_deleted_are_no_longer_of_the_day(engine: Engine) -> None:
    job = submit_one(engine)
    complete_job(engine, claim_one(engine))
    with transaction(engine) as session:
        session.execute(text("UPDATE media_assets SET deleted_at = '2026-12-01T00:00:00Z'"))
    with transaction(engine) as session:
        assert job_queue.outputs_of_day(session, DayKey("demo", DAY), JobKind.IMAGE) == []
        asset = job_queue.media_asset_of_job(session, "demo", job.id)
        assert asset is not None
        assert asset.deleted_at is not None
        assert asset.deleted_at.utcoffset() == timedelta(0)


def test_the_output_of_another_tenants_job_is_none(engine: Engine) -> None:
    job = submit_one(engine)
    asset = complete_job(engine, claim_one(engine))
    with transaction(engine) as session:
        assert job_queue.media_asset_of_job(session, "demo", job.id) == asset
        assert job_queue.media_asset_of_job(session, "other", job.id) is None
