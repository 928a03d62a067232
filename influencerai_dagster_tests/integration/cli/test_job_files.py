"""`influencerai jobs retry | download`: failed jobs again, and files of completed ones."""

import json
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import text

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_one,
    image_request,
    job_now,
    manifest_key_of,
    output_of,
    submit_one,
)
from influencerai_dagster_tests.testing.command_line import CommandLine


def failed_job(cli: CommandLine) -> job_queue.Job:
    submit_one(cli.engine)
    job = claim_one(cli.engine)
    with transaction(cli.engine) as session:
        job_queue.fail(session, job.id, job.lease_token, PermanentError("no"))
    return job


def completed_job(cli: CommandLine, content: bytes) -> job_queue.Job:
    """A job whose file is on S3."""
    submit_one(cli.engine)
    job = claim_one(cli.engine)
    output = output_of(job)
    file = output.file.model_copy(
        update={"size_bytes": len(content), "sha256": sha256_hex(content)}
    )
    cli.store.put_new(file.object_key, content)
    with transaction(cli.engine) as session:
        job_queue.complete(
            session,
            job.id,
            job.lease_token,
            output.model_copy(update={"file": file}),
            manifest_key_of(job),
        )
    return job


def test_a_failed_job_is_submitted_again_once_with_its_payload(jobs: CommandLine) -> None:
    failed = failed_job(jobs)
    answers = [jobs("jobs", "retry", str(failed.id), "--tenant", "demo") for _ in range(2)]
    with transaction(jobs.engine) as session:
        again, first = job_queue.list_jobs(session, "demo")
    assert first.id == failed.id
    assert again.payload == failed.payload
    assert again.idempotency_key == f"retry/{failed.id}"
    for answer in answers:
        assert str(again.id) in answer
        assert "are in the job queue and are not lost" in answer, "no Dagster runs here"


def test_all_failed_jobs_of_a_day_are_submitted_again(jobs: CommandLine) -> None:
    failed, waiting = failed_job(jobs), submit_one(jobs.engine)
    answer = jobs("jobs", "retry", "--day", f"{DAY}", "--tenant", "demo")
    assert f"retry/{failed.id}" in answer
    assert str(waiting.id) not in answer


def test_no_failed_job_of_a_day_is_left_out_however_many_there_are(jobs: CommandLine) -> None:
    with transaction(jobs.engine) as session:
        job_queue.submit(session, "demo", DAY, [image_request() for _ in range(1001)])
        session.execute(
            text("UPDATE jobs SET status = 'failed', error = 'no', finished_at = now()")
        )
    answer = jobs("jobs", "retry", "--day", f"{DAY}", "--tenant", "demo", "--json")
    assert len(json.loads(answer.out)) == 1001


def test_a_job_that_did_not_fail_is_not_submitted_again(jobs: CommandLine) -> None:
    failed, waiting = failed_job(jobs), submit_one(jobs.engine)
    answer = jobs("jobs", "retry", str(failed.id), str(waiting.id), "--tenant", "demo")
    assert answer.exit_code == 1
    assert f"job {waiting.id} is pending" in answer
    with transaction(jobs.engine) as session:
        assert len(job_queue.list_jobs(session, "demo")) == 2


@pytest.mark.parametrize("verb", ["retry", "download", "show", "link", "cancel"])
def test_a_job_of_another_tenant_is_unknown(jobs: CommandLine, verb: str) -> None:
    theirs = submit_one(jobs.engine, tenant="other").id
    answer = jobs("jobs", verb, str(theirs), "--tenant", "demo")
    assert answer.exit_code == 1
    assert f"error: tenant 'demo' has no job {theirs}" in answer


def test_a_finished_job_that_is_cancelled_stays_and_the_command_says_so(jobs: CommandLine) -> None:
    done, waiting = completed_job(jobs, b"image"), submit_one(jobs.engine)
    answer = jobs("jobs", "cancel", str(done.id), str(waiting.id), "--tenant", "demo")
    assert answer.exit_code == 1
    assert f"job {done.id} had ended before: it is completed since" in answer
    assert f"job {waiting.id} is cancelled" in answer
    assert job_now(jobs.engine, done).status == "completed"


def test_files_of_a_day_are_saved_once_and_go_on_where_they_stopped(
    jobs: CommandLine, tmp_path: Path
) -> None:
    first, second = completed_job(jobs, b"one"), completed_job(jobs, b"two")
    command = ("jobs", "download", "--day", f"{DAY}", "--tenant", "demo", "--to", tmp_path / "a/b")
    assert "2 files saved" in jobs(*command)
    (tmp_path / "a" / "b" / f"{second.id}.png").unlink()
    assert "1 file saved" in jobs(*command)
    assert (tmp_path / "a" / "b" / f"{first.id}.png").read_bytes() == b"one"
    assert (tmp_path / "a" / "b" / f"{second.id}.png").read_bytes() == b"two"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 2


def test_a_file_that_is_there_is_never_overwritten(jobs: CommandLine, tmp_path: Path) -> None:
    job = completed_job(jobs, b"image")
    mine = tmp_path / f"{job.id}.png"
    mine.write_bytes(b"mine!")
    answer = jobs("jobs", "download", str(job.id), "--tenant", "demo", "--to", tmp_path)
    assert answer.exit_code == 1
    assert f"{mine} exists with other content and is not overwritten" in answer
    assert mine.read_bytes() == b"mine!"


def test_files_are_saved_as_one_zip_that_replaces_none(jobs: CommandLine, tmp_path: Path) -> None:
    job = completed_job(jobs, b"image")
    command = ("jobs", "download", str(job.id), "--tenant", "demo", "--to", tmp_path / "all.zip")
    found = json.loads(jobs(*command, "--json").out)
    assert found["num_files"] == 1
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.read(f"{job.id}.png") == b"image"
    again = jobs(*command)
    assert again.exit_code == 1
    assert "exists and is not overwritten" in again
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]


def test_a_job_without_a_file_is_named_and_nothing_is_downloaded(
    jobs: CommandLine, tmp_path: Path
) -> None:
    done, waiting = completed_job(jobs, b"image"), submit_one(jobs.engine)
    ids = (str(done.id), str(waiting.id))
    answer = jobs("jobs", "download", *ids, "--tenant", "demo", "--to", tmp_path / "files")
    assert answer.exit_code == 1
    assert f"job {waiting.id} is pending: it has no file" in answer
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("verb", ["retry", "download"])
def test_jobs_or_a_day_must_be_named(jobs: CommandLine, verb: str) -> None:
    answer = jobs("jobs", verb, "--tenant", "demo")
    assert answer.exit_code == 1
    assert "name the jobs, or --day" in answer
