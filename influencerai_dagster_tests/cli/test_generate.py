"""`influencerai generate` through a real web server; the test itself does the work of the run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.loras import record_lora
from influencerai_dagster.catalog.tenants import add_tenant, put_influencer
from influencerai_dagster.domain.jobs import JobKind
from influencerai_dagster.domain.keys import DayKey
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.processes import free_port
from influencerai_dagster.orchestration.ops.rendering import parse_jobs
from influencerai_dagster_tests.catalog.samples import claim_all, complete_job, lora_manifest
from influencerai_dagster_tests.cli.conftest import CommandLine
from influencerai_dagster_tests.dagster_server import queued_instance, running_webserver

DAY = "2026-11-23"
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
def generate(cli: CommandLine, dagster_url: str) -> CommandLine:
    """The command line with tenant demo, who has a LoRA of bella, and a web server."""
    cli.environment.setenv("DAGSTER_URL", dagster_url)
    with transaction(cli.engine) as session:
        add_tenant(session, "demo")
        put_influencer(
            session, "demo", "bella", dataset="bella", trigger_phrase="b", class_caption="c"
        )
        record_lora(session, lora_manifest())
    return cli


@contextmanager
def worker(instance: dg.DagsterInstance, work: Work) -> Iterator[None]:
    """Do `work` with the first run that is queued during the block."""
    known = {run.run_id for run in instance.get_runs()}
    problems: list[Exception] = []

    def wait_and_work() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for run in instance.get_runs():
                if run.run_id not in known:
                    try:
                        work(run)
                    except Exception as error:  # noqa: BLE001 - the test's thread raises it
                        problems.append(error)
                        instance.report_run_failed(run)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    yield
    thread.join(timeout=30)
    assert problems == []


def submit(cli: CommandLine, run: dg.DagsterRun) -> None:
    """Put the run's jobs into the ledger, as the op does first."""
    key = DayKey.parse(run.tags["dagster/partition"])
    config: Any = run.run_config
    jobs = config["ops"]["render_images"]["config"]["jobs"]
    requests = parse_jobs(JobKind.IMAGE, jobs, run.run_id)
    with transaction(cli.engine) as session:
        ledger.submit(session, key.tenant, key.day, requests)


def command(*more: str) -> tuple[str, ...]:
    prompt = ("--prompt", "bella [at] the beach", "--day", DAY)
    return "generate", "--tenant", "demo", *prompt, *more


def test_pictures_are_ordered_waited_for_and_listed(
    generate: CommandLine, instance: dg.DagsterInstance, dagster_url: str
) -> None:
    made: list[str] = []

    def render(run: dg.DagsterRun) -> None:
        submit(generate, run)
        for job in claim_all(generate.engine):
            made.append(complete_job(generate.engine, job).object_key)  # noqa: PERF401 - it writes

    with worker(instance, render):
        answer = generate(*command("--lora", "bella", "--count", "2"))

    assert answer.exit_code == 0
    assert f"{dagster_url}/runs/" in answer
    assert len(made) == 2
    assert all(key in answer for key in made)
    assert "demo/2026-11-23" in instance.get_dynamic_partitions("content_days")
    with transaction(generate.engine) as session:
        jobs = ledger.list_jobs(session, "demo")
    assert {job.payload.prompt for job in jobs if job.payload.kind == JobKind.IMAGE} == {
        "bella [at] the beach"
    }


def test_pictures_that_failed_are_listed_with_their_reason(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    def render(run: dg.DagsterRun) -> None:
        submit(generate, run)
        good, bad = claim_all(generate.engine)
        complete_job(generate.engine, good)
        with transaction(generate.engine) as session:
            ledger.fail(session, bad.id, bad.lease_token, PermanentError("no node [KSampler]"))

    with worker(instance, render):
        answer = generate(*command("--count", "2"))

    assert answer.exit_code == 1
    assert "no node [KSampler]" in answer
    assert "error: 1 of 2 pictures were not made" in answer


def test_a_run_that_failed_before_its_jobs_were_there_ends_the_command_with_its_reason(
    generate: CommandLine, instance: dg.DagsterInstance
) -> None:
    def fail(run: dg.DagsterRun) -> None:
        instance.report_run_failed(run, message="the catalog has 10000 pending jobs of demo")

    with worker(instance, fail):
        answer = generate(*command())

    assert answer.exit_code == 1
    assert "error: nothing was rendered: the catalog has 10000 pending jobs of demo" in answer


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--tenant", "nobody"), "`influencerai tenant add nobody`", id="tenant"),
        pytest.param(
            ("--tenant", "../x"), "tenant name '../x' is not allowed", id="hostile tenant"
        ),
        pytest.param(("--lora", "anna"), "no LoRA of dataset 'anna'", id="no such LoRA"),
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


def test_a_web_server_that_is_away_is_told_with_how_to_start_it(generate: CommandLine) -> None:
    generate.environment.setenv("DAGSTER_URL", f"http://127.0.0.1:{free_port()}")
    answer = generate(*command())
    assert answer.exit_code == 1
    assert "`make up` starts the local stack" in answer
