"""What a generation run shows of its jobs in the UI."""

import io
from typing import Any

import dagster as dg
import pytest
from PIL import Image
from sqlalchemy import Engine

from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import ClaimedJob, Job
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerReport
from influencerai_dagster.orchestration.generation.metadata import rendering_metadata
from influencerai_dagster.orchestration.metadata import MAX_ROWS, Metadata
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_all,
    claim_one,
    complete_job,
    output_of,
    submit_one,
)

MANIFEST = DayManifest(tenant="demo", day=DAY, kind="images", outputs=())


@pytest.fixture
def engine(catalog: Catalog) -> Engine:
    return catalog.engine


def finished(job: Job, **values: Any) -> FinishedJob:
    """Return what a worker tells of a job."""
    reported = {
        "output": None,
        "error": None,
        "wait_seconds": 1.0,
        "seconds": 2.0,
        "server": "http://gpu1:8188",
        "attempt": job.attempt,
    }
    return FinishedJob(job_id=job.id, **{**reported, **values})


def done(engine: Engine, store: ObjectStore, job: ClaimedJob, **values: Any) -> FinishedJob:
    """Complete a claimed job as a worker does."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    output = output_of(job)
    stored = store.put_new(output.file.object_key, data.getvalue())
    complete_job(engine, job)
    return finished(job, output=output.model_copy(update={"file": stored}), **values)


def failed(engine: Engine, job: ClaimedJob, error: InfluencerAIError) -> FinishedJob:
    """Fail a claimed job as a worker does."""
    with transaction(engine) as session:
        job_queue.fail(session, job.id, job.lease_token, error)
    return finished(job, error=str(error))


def metadata(
    engine: Engine,
    store: ObjectStore,
    *reported: FinishedJob,
    own: tuple[Job, ...] = (),
    seconds: float = 60,
) -> Metadata:
    report = WorkerReport()
    for job in reported:
        report.add(job)
    own_ids = {job.id for job in own}
    with transaction(engine) as session:
        rows = job_queue.get_jobs(session, "demo", own_ids | {job.job_id for job in report.failed})
    return rendering_metadata(
        store, MANIFEST, report, rows, own_ids=own_ids, worker_seconds=seconds
    )


def rows_of(found: Metadata) -> list[dict[str, Any]]:
    assert isinstance(found["jobs"], dg.TableMetadataValue)
    return [dict(record.data) for record in found["jobs"].records]


def claimed(engine: Engine, number: int) -> list[ClaimedJob]:
    for _ in range(number):
        submit_one(engine)
    return claim_all(engine)


def test_the_table_has_where_and_how_long_each_job_was_rendered(
    engine: Engine, object_store: ObjectStore
) -> None:
    (job,) = claimed(engine, 1)
    reported = done(engine, object_store, job, wait_seconds=1.239, seconds=2.345)
    (row,) = rows_of(metadata(engine, object_store, reported))
    assert row["job_id"] == str(job.id)
    assert row["object_key"] == f"images/demo/{job.id}/output.png"
    assert (row["status"], row["error"]) == ("completed", "")
    assert (row["wait_seconds"], row["seconds"]) == (1.24, 2.35)
    assert row["server"].startswith("http://")
    assert list(row)[:5] == ["job_id", "status", "prompt", "error", "seconds"]
    assert row["prompt"]
    assert {type(value) for value in row.values()} <= {str, int, float}


def test_every_output_can_be_opened_by_a_link_with_its_prompt_and_seed(
    engine: Engine, object_store: ObjectStore
) -> None:
    (job,) = claimed(engine, 1)
    found = metadata(engine, object_store, done(engine, object_store, job))
    assert list(found)[:2] == ["contact_sheet", "files"]
    links = found["files"].md_str
    assert f"(/files/images/demo/{job.id}/output.png)" in links
    assert "seed" in links


def test_failed_jobs_come_first_then_the_runs_own_then_the_others(
    engine: Engine, object_store: ObjectStore
) -> None:
    other, own, bad = claimed(engine, 3)
    reported = [
        done(engine, object_store, other),
        done(engine, object_store, own),
        failed(engine, bad, PermanentError("no such sampler")),
    ]
    rows = rows_of(metadata(engine, object_store, *reported, own=(own,)))
    assert [row["job_id"] for row in rows] == [str(bad.id), str(own.id), str(other.id)]
    assert (rows[0]["status"], rows[0]["error"]) == ("failed", "no such sampler")


def test_own_jobs_that_another_run_rendered_are_in_the_table_and_counted(
    engine: Engine, object_store: ObjectStore
) -> None:
    elsewhere, bad = claimed(engine, 2)
    complete_job(engine, elsewhere)
    with transaction(engine) as session:
        job_queue.fail(session, bad.id, bad.lease_token, PermanentError("no such sampler"))
    waiting = submit_one(engine)

    found = metadata(engine, object_store, own=(elsewhere, bad, waiting))

    rows = {row["job_id"]: row for row in rows_of(found)}
    assert rows[str(elsewhere.id)]["object_key"] == f"images/demo/{elsewhere.id}/output.png"
    assert rows[str(elsewhere.id)]["seconds"] >= 0
    assert rows[str(bad.id)]["error"] == "no such sampler"
    assert rows[str(waiting.id)]["status"] == "pending"
    assert rows[str(waiting.id)]["seconds"] == ""
    assert (found["completed"], found["failed"]) == (1, 1)


def test_a_try_that_failed_in_passing_is_pending_and_no_failure(
    engine: Engine, object_store: ObjectStore
) -> None:
    (job,) = claimed(engine, 1)
    found = metadata(engine, object_store, failed(engine, job, TransientError("server away")))
    (row,) = rows_of(found)
    assert (row["status"], row["error"]) == ("pending", "server away")
    assert (found["completed"], found["failed"]) == (0, 0)


def test_of_a_job_that_was_tried_twice_the_last_try_is_told(
    engine: Engine, object_store: ObjectStore
) -> None:
    submit_one(engine)
    job = claim_one(engine)
    first = finished(job, error="server away")
    (row,) = rows_of(metadata(engine, object_store, first, done(engine, object_store, job)))
    assert (row["status"], row["error"]) == ("completed", "")


def test_times_are_those_of_completed_jobs(engine: Engine, object_store: ObjectStore) -> None:
    jobs = claimed(engine, 4)
    reported = [
        done(engine, object_store, job, seconds=float(number), wait_seconds=number / 10)
        for number, job in enumerate(jobs[:3], start=1)
    ]
    reported.append(failed(engine, jobs[3], PermanentError("no")))
    found = metadata(engine, object_store, *reported, seconds=30)
    assert found["seconds_per_job_mean"] == 2
    assert found["seconds_per_job_p95"] == 2.9
    assert found["wait_seconds_p50"] == 0.2
    assert found["wait_seconds_p95"] == 0.29
    assert found["jobs_per_minute"] == 6
    labels = list(found)
    assert labels[:4] == ["contact_sheet", "files", "completed", "failed"]
    assert labels[-1] == "jobs"


def test_a_run_without_jobs_says_so_and_has_no_times(
    engine: Engine, object_store: ObjectStore
) -> None:
    found = metadata(engine, object_store, seconds=0)
    assert found == {"jobs": "none", "completed": 0, "failed": 0, "outputs_of_day": 0}


def test_rows_that_the_event_log_does_not_keep_are_counted(
    engine: Engine, object_store: ObjectStore
) -> None:
    (job,) = claimed(engine, 1)
    own = [submit_one(engine) for _ in range(MAX_ROWS)]
    bad = failed(engine, job, PermanentError("no"))
    found = metadata(engine, object_store, bad, own=tuple(own))
    rows = rows_of(found)
    assert len(rows) == MAX_ROWS
    assert rows[0]["error"] == "no"
    assert found["jobs_not_in_the_table"] == 1
