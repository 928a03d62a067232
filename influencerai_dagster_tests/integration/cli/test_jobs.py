"""`influencerai jobs`: a tenant's own jobs, with what became of them."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_one,
    complete_job,
    job_now,
    submit_one,
)
from influencerai_dagster_tests.testing.command_line import CommandLine


def fail_one(cli: CommandLine, reason: str) -> UUID:
    submit_one(cli.engine)
    job = claim_one(cli.engine)
    with transaction(cli.engine) as session:
        job_queue.fail(session, job.id, job.lease_token, PermanentError(reason))
    return job.id


def test_jobs_are_listed_with_result_or_reason(jobs: CommandLine) -> None:
    failed = fail_one(jobs, "no [such] workflow")
    submit_one(jobs.engine)
    done = claim_one(jobs.engine)
    complete_job(jobs.engine, done)

    answer = jobs("jobs", "list", "--tenant", "demo")

    assert answer.exit_code == 0
    assert str(failed) in answer
    assert "no [such] workflow" in answer
    assert f"images/demo/{done.id}/output.png" in answer


def test_jobs_can_be_listed_by_status(jobs: CommandLine) -> None:
    failed, pending = fail_one(jobs, "no"), submit_one(jobs.engine).id
    answer = jobs("jobs", "list", "--tenant", "demo", "--status", "pending")
    assert str(pending) in answer
    assert str(failed) not in answer


def test_jobs_of_another_tenant_are_not_listed(jobs: CommandLine) -> None:
    theirs = submit_one(jobs.engine, tenant="other").id
    assert str(theirs) not in jobs("jobs", "list", "--tenant", "demo")


def test_a_job_that_waits_can_be_cancelled(jobs: CommandLine) -> None:
    job = submit_one(jobs.engine)
    assert f"job {job.id} is cancelled" in jobs("jobs", "cancel", str(job.id), "--tenant", "demo")


@pytest.mark.parametrize("owner", ["other", "nobody"])
def test_a_job_of_another_tenant_or_of_nobody_cannot_be_cancelled(
    jobs: CommandLine, owner: str
) -> None:
    job_id = submit_one(jobs.engine, tenant="other").id if owner == "other" else uuid4()
    answer = jobs("jobs", "cancel", str(job_id), "--tenant", "demo")
    assert answer.exit_code == 1
    assert f"error: tenant 'demo' has no job {job_id}" in answer


def test_several_jobs_are_cancelled_at_once_or_none(jobs: CommandLine) -> None:
    first, second = submit_one(jobs.engine), submit_one(jobs.engine)
    theirs = submit_one(jobs.engine, tenant="other")
    command = ("jobs", "cancel", "--tenant", "demo", str(first.id), str(second.id))
    assert jobs(*command, str(theirs.id)).exit_code == 1
    assert job_now(jobs.engine, first).status is JobStatus.PENDING
    answer = jobs(*command)
    assert f"job {first.id} is cancelled" in answer
    assert f"job {second.id} is cancelled" in answer
    assert job_now(jobs.engine, theirs).status is JobStatus.PENDING


def test_all_open_jobs_are_cancelled_after_a_question(jobs: CommandLine) -> None:
    job = submit_one(jobs.engine)
    theirs = submit_one(jobs.engine, tenant="other")
    command = ("jobs", "cancel", "--all", "--tenant", "demo")

    refused = jobs(*command, stdin="n\n")
    assert refused.exit_code == 1
    assert "Cancel 1 pending and 0 running jobs of demo?" in refused
    assert job_now(jobs.engine, job).status is JobStatus.PENDING

    assert "1 jobs of demo cancelled" in jobs(*command, stdin="y\n")
    assert job_now(jobs.engine, job).status is JobStatus.CANCELLED
    assert job_now(jobs.engine, theirs).status is JobStatus.PENDING
    assert "0 jobs of demo cancelled" in jobs(*command)


def test_all_open_jobs_of_a_day_and_kind_are_cancelled_without_a_question(
    jobs: CommandLine,
) -> None:
    job = submit_one(jobs.engine)
    command = ("jobs", "cancel", "--all", "--tenant", "demo", "--yes")
    assert "0 jobs" in jobs(*command, "--kind", "video")
    assert "0 jobs" in jobs(*command, "--day", "2020-01-01")
    assert "1 jobs" in jobs(*command, "--kind", "image", "--day", f"{job.day}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param((), "name the jobs to cancel, or --all", id="nothing"),
        pytest.param(("--all", str(uuid4())), "and not both", id="both"),
        pytest.param((str(uuid4()), "--kind", "image"), "choose among --all", id="kind of a job"),
        pytest.param(("--all", "--day", "today"), "is not a date", id="day"),
    ],
)
def test_a_cancellation_that_is_not_clear_is_refused(
    jobs: CommandLine, arguments: tuple[str, ...], says: str
) -> None:
    job = submit_one(jobs.engine)
    answer = jobs("jobs", "cancel", "--tenant", "demo", *arguments)
    assert answer.exit_code == 1
    assert says in answer
    assert job_now(jobs.engine, job).status is JobStatus.PENDING


def test_all_jobs_of_an_unknown_tenant_are_refused(jobs: CommandLine) -> None:
    answer = jobs("jobs", "cancel", "--all", "--tenant", "nobody")
    assert answer.exit_code == 1
    assert "`influencerai tenant add nobody`" in answer


ORDERS = [{"prompt": "one", "priority": 9}, {"prompt": "two", "idempotency_key": "mine"}]


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_list_of_jobs_is_submitted_and_each_is_told_with_its_key(
    jobs: CommandLine, tmp_path: Path, source: str
) -> None:
    file = tmp_path / "orders.json"
    file.write_text(json.dumps(ORDERS))
    command = ("jobs", "submit", str(file) if source == "file" else "-", "--tenant", "demo")
    options = ("--day", "2026-11-23", "--idempotency-key", "order-17")
    stdin = json.dumps(ORDERS)

    answers = [jobs(*command, *options, stdin=stdin) for _ in range(2)]

    with transaction(jobs.engine) as session:
        second, first = job_queue.list_jobs(session, "demo")
    assert (first.priority, first.idempotency_key) == (9, "order-17/0")
    assert (second.priority, second.idempotency_key) == (5, "mine")
    assert str(first.day) == "2026-11-23"
    for answer in answers:
        assert f"{first.id} pending order-17/0" in answer
        assert f"{second.id} pending mine" in answer
        assert answer.exit_code == 1, "no Dagster runs here"
        assert "are in the job queue and are not lost" in answer


@pytest.mark.parametrize("kind", ["video", "upscale"])
def test_a_list_of_jobs_that_start_from_an_image_is_submitted_with_its_kind(
    jobs: CommandLine, kind: str
) -> None:
    image = submit_one(jobs.engine)
    listed = json.dumps([{"source_job_id": str(image.id)}])
    answer = jobs("jobs", "submit", "-", "--tenant", "demo", "--kind", kind, stdin=listed)
    with transaction(jobs.engine) as session:
        job, _ = job_queue.list_jobs(session, "demo")
    assert f"{job.id} pending" in answer
    assert (job.kind, job.depends_on) == (kind, image.id)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("{", "standard input is not JSON", id="no JSON"),
        pytest.param(
            "{}", "standard input must be a list in JSON, but it is an object", id="no list"
        ),
        pytest.param(
            '[{"prompt": "a"}, 1]',
            "jobs[1] of standard input must be an object in JSON, but it is a number",
            id="no job",
        ),
        pytest.param('[{"prompt": "a"}, {}]', "jobs[1] cannot be used: prompt", id="bad job"),
    ],
)
def test_a_list_that_cannot_be_used_orders_nothing(
    jobs: CommandLine, content: str, says: str
) -> None:
    answer = jobs("jobs", "submit", "-", "--tenant", "demo", stdin=content)
    assert answer.exit_code == 1
    assert says in answer
    with transaction(jobs.engine) as session:
        assert job_queue.list_jobs(session, "demo") == []


@pytest.mark.parametrize("tenant", ["../x", "Demo"])
def test_a_hostile_tenant_name_is_refused(jobs: CommandLine, tenant: str) -> None:
    answer = jobs("jobs", "list", "--tenant", tenant)
    assert answer.exit_code == 1
    assert "error: tenant name" in answer


def test_a_database_that_is_away_is_told_in_words(jobs: CommandLine) -> None:
    jobs.environment.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    answer = jobs("jobs", "list", "--tenant", "demo")
    assert answer.exit_code == 1
    assert "error: PostgreSQL" in answer


def test_a_setting_that_cannot_be_used_is_named(jobs: CommandLine) -> None:
    jobs.environment.setenv("MAX_UPLOAD_SIZE", "much")
    answer = jobs("jobs", "list", "--tenant", "demo")
    assert answer.exit_code == 1
    assert "MAX_UPLOAD_SIZE='much'" in answer
