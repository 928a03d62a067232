"""`influencerai jobs`: a tenant's own jobs, with what became of them."""

from uuid import UUID, uuid4

import pytest

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.tenants import add_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.catalog.samples import claim_one, complete_job, submit_one
from influencerai_dagster_tests.cli.conftest import CommandLine


@pytest.fixture
def jobs(cli: CommandLine) -> CommandLine:
    with transaction(cli.engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
    return cli


def fail_one(cli: CommandLine, reason: str) -> UUID:
    submit_one(cli.engine)
    job = claim_one(cli.engine)
    with transaction(cli.engine) as session:
        ledger.fail(session, job.id, job.lease_token, PermanentError(reason))
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
