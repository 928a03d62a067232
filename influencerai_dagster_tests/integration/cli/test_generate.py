"""`influencerai generate` through a real web server; the test itself does the work of the run."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.tenants import add_tenant, put_influencer
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.catalog_rows import claim_all, complete_job, lora_manifest
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.dagster_server import queued_instance, running_webserver
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

DAY = "2026-11-23"
OTHER_DAY = "2026-11-24"
Work = Callable[[dg.DagsterRun], None]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with queued_instance() as instance:
        yield instance


@pytest.fixture(scope="module")
def dagster_url(instance: dg.DagsterInstance) -> Iterator[str]:
    with running_webserver(instance) as url:
        yield url


@pytest.fixture
def generate(
    cli: CommandLine, dagster_url: str, instance: dg.DagsterInstance
) -> Iterator[CommandLine]:
    """The command line with tenant demo, who has a LoRA of bella, and a web server without runs."""
    cli.environment.setenv("DAGSTER_URL", dagster_url)
    with transaction(cli.engine) as session:
        add_tenant(session, "demo")
        put_influencer(
            session, "demo", "bella", dataset="bella", trigger_phrase="b", class_caption="c"
        )
        record_lora(session, lora_manifest())
    yield cli
    for run in instance.get_runs():
        instance.delete_run(run.run_id)


@contextmanager
def worker(instance: dg.DagsterInstance, work: Work) -> Iterator[None]:
    """Do `work` with the first run that is queued during the block."""
    problems: list[Exception] = []
    queued = partial(instance.get_runs, dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))

    def wait_and_work() -> None:
        run = wait_until(queued, "a run is queued", timeout_seconds=30)[0]
        try:
            work(run)
        except Exception as error:  # noqa: BLE001 - the test's thread raises it
            problems.append(error)
            instance.report_run_failed(run)

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    yield
    thread.join(timeout=30)
    assert problems == []


def command(*more: str) -> tuple[str, ...]:
    prompt = ("--prompt", "bella [at] the beach", "--day", DAY)
    return "generate", "--tenant", "demo", *prompt, *more


def all_jobs(cli: CommandLine) -> list[job_queue.Job]:
    with transaction(cli.engine) as session:
        return job_queue.list_jobs(session, "demo")


@contextmanager
def rendering(cli: CommandLine) -> Iterator[None]:
    """Complete jobs as they come until the end of the block, as an alive run does."""
    stop = threading.Event()

    def render() -> None:
        while not stop.wait(0.02):
            for kind in JobKind:
                for job in claim_all(cli.engine, kind=kind):
                    complete_job(cli.engine, job)

    thread = threading.Thread(target=render)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=30)


def test_images_are_submitted_waited_for_and_listed(
    generate: CommandLine, instance: dg.DagsterInstance, dagster_url: str
) -> None:
    made: list[str] = []

    def render(_: dg.DagsterRun) -> None:
        for job in claim_all(generate.engine):
            made.append(complete_job(generate.engine, job).object_key)  # noqa: PERF401 - it writes

    with worker(instance, render):
        answer = generate(*command("--lora", "bella", "--count", "2"))

    assert answer.exit_code == 0
    assert f"{dagster_url}/runs/" in answer
    assert len(made) == 2
    assert all(key in answer for key in made)
    assert "demo/2026-11-23" in instance.get_dynamic_partitions("content_days")
    jobs = all_jobs(generate)
    assert {job.payload.prompt for job in jobs if job.payload.kind == JobKind.IMAGE} == {
        "bella [at] the beach"
    }


def test_a_video_is_made_of_the_image(generate: CommandLine, tmp_path: Path) -> None:
    srt = tmp_path / "words.srt"
    srt.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    options = ("--video", "--platform", "tiktok", "--seconds", "3", "--motion", "60")
    with rendering(generate):
        answer = generate(*command(*options, "--subtitles", str(srt), "--json"))

    assert answer.exit_code == 0, answer.text
    image, video = json.loads(answer.out)
    assert (image["kind"], video["kind"], video["status"]) == ("image", "video", "completed")
    assert f"open {video['job_id']}" in answer
    asked = video["payload"]
    assert asked["source_job_id"] == image["job_id"]
    assert (asked["preset"], asked["duration_seconds"], asked["motion_bucket_id"]) == (
        *("tiktok", 3.0, 60),
    )
    assert "hello" in asked["subtitles_srt"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--seconds", "3"), "add --video", id="no video"),
        pytest.param(("--video", "--seconds", "9999"), "takes at most 900 s", id="too long"),
        pytest.param(("--video", "--subtitles", "no.srt"), "There is no file no.srt", id="no file"),
    ],
)
def test_a_video_that_cannot_be_is_refused_before_an_image_is_rendered(
    generate: CommandLine, options: tuple[str, ...], says: str
) -> None:
    answer = generate(*command(*options))
    assert answer.exit_code == 1
    assert says in answer
    assert all_jobs(generate) == []


def test_images_that_failed_are_listed_with_their_reason(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    def render(_: dg.DagsterRun) -> None:
        good, bad = claim_all(generate.engine)
        complete_job(generate.engine, good)
        with transaction(generate.engine) as session:
            job_queue.fail(session, bad.id, bad.lease_token, PermanentError("no node [KSampler]"))

    with worker(instance, render):
        answer = generate(*command("--count", "2"))

    assert answer.exit_code == 1
    assert "no node [KSampler]" in answer
    assert "error: 1 of 2 jobs did not complete" in answer


def test_a_run_that_failed_ends_the_command_with_its_reason_and_the_jobs_stay(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    def fail(run: dg.DagsterRun) -> None:
        instance.report_run_failed(run, message="S3_KEY is not set")

    with worker(instance, fail):
        answer = generate(*command())

    assert answer.exit_code == 1
    assert "did not make them: S3_KEY is not set" in answer
    assert "still in the job queue" in answer
    assert [job.status for job in all_jobs(generate)] == [JobStatus.PENDING]


def test_a_run_that_is_alive_takes_the_jobs_and_no_second_one_is_launched(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    alive = dg.DagsterRun(
        job_name="generate_images_job",
        run_id=str(uuid4()),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": f"demo/{OTHER_DAY}"},
    )
    instance.add_run(alive)
    before = instance.get_runs_count()
    with rendering(generate):
        answer = generate(*command("--day", OTHER_DAY))
    assert answer.exit_code == 0
    assert f"/runs/{alive.run_id} (alive already)" in answer
    assert instance.get_runs_count() == before


def test_the_same_key_again_waits_for_the_same_images(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    options = ("--count", "2", "--idempotency-key", "order-17", "--priority", "9")
    with rendering(generate):
        first = generate(*command(*options))
    before = instance.get_runs_count()
    second = generate(*command(*options))
    assert (first.exit_code, second.exit_code) == (0, 0)
    jobs = all_jobs(generate)
    assert {job.idempotency_key for job in jobs} == {"order-17/0", "order-17/1"}
    assert {job.priority for job in jobs} == {9}
    assert all(str(job.id) in second for job in jobs)
    assert instance.get_runs_count() == before, "nothing is left to render"


def test_the_key_of_one_image_is_the_given_one(generate: CommandLine) -> None:
    with rendering(generate):
        assert generate(*command("--idempotency-key", "order-17")).exit_code == 0
    assert [job.idempotency_key for job in all_jobs(generate)] == ["order-17"]


def test_too_many_pending_jobs_are_refused_before_a_run_starts(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    generate.environment.setenv("MAX_PENDING_JOBS_PER_TENANT", "3")
    before = instance.get_runs_count()
    answer = generate(*command("--count", "4"))
    assert answer.exit_code == 1
    assert "may have 3 (MAX_PENDING_JOBS_PER_TENANT): none of these 4 was accepted" in answer
    assert instance.get_runs_count() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--tenant", "nobody"), "`influencerai tenant add nobody`", id="tenant"),
        pytest.param(
            ("--tenant", "../x"), "tenant name '../x' is not allowed", id="hostile tenant"
        ),
        pytest.param(("--lora", "anna"), "no dataset 'anna'", id="no such LoRA"),
        pytest.param(("--lora", "../x"), "'../x'", id="hostile LoRA"),
        pytest.param(("--day", "2026-02-30"), "is not a date", id="day"),
    ],
)
def test_what_cannot_be_rendered_is_refused_before_a_run_starts(
    generate: CommandLine, instance: dg.DagsterInstance, arguments: tuple[str, ...], says: str
) -> None:
    before = instance.get_runs_count()
    answer = generate(*command(*arguments))
    assert answer.exit_code == 1
    assert says in answer
    assert instance.get_runs_count() == before


def test_without_dagster_the_jobs_are_kept_and_the_command_says_so(generate: CommandLine) -> None:
    generate.environment.setenv("DAGSTER_URL", f"http://127.0.0.1:{free_port()}")
    answer = generate(*command())
    assert answer.exit_code == 1
    assert "error: The jobs (1) are in the job queue and are not lost" in answer
    assert "`make up` starts the local stack" in answer
    assert [job.status for job in all_jobs(generate)] == [JobStatus.PENDING]
