"""Cancelling jobs: in the job queue, and the render at once wherever it is, and nobody else's."""

import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.cancellation import cancel_jobs, cancel_open_jobs
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_all,
    claim_one,
    complete_job,
    end_backoff,
    run_out_leases,
    video_request,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY, status, submit
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

SLOW_STEPS = 200
AWAY = f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def client(comfyui: ComfyUISimulator) -> Iterator[ComfyUIClient]:
    """A server that takes 20 s for a render; what a test leaves there is thrown away."""
    comfyui.faults(seconds_per_step=0.1)
    with ComfyUIClient(comfyui.url) as client:
        yield client
        comfyui.faults(reset=True)
        for prompt in (*client.queue().pending, *client.queue().running):
            client.cancel(prompt.prompt_id)


def post(client: ComfyUIClient, prompt: str) -> str:
    sampling = ImageSampling(
        prompt="slow",
        seed=int(time.monotonic() * 1000),
        steps=SLOW_STEPS,
        width_px=64,
        height_px=64,
        base_model="v1-5-pruned-emaonly.safetensors",
    )
    template = shipped_template("sd15_text_to_image")
    workflow = fill_image_workflow(template, sampling, filename_prefix=f"cancel/{prompt}")
    client.submit(workflow, prompt_id=prompt, client_id="test")
    return prompt


def rendering(engine: Engine, client: ComfyUIClient, server: str | None = None) -> ClaimedJob:
    """A job whose worker has posted its prompt."""
    submit(engine, "slow")
    job = claim_one(engine)
    post(client, prompt_id(job.id, job.lease_token))
    with transaction(engine) as session:
        values = {"server": server, "id": job.id}
        session.execute(text("UPDATE jobs SET server = :server WHERE id = :id"), values)
    return job


def on_server(client: ComfyUIClient) -> set[str]:
    queue = client.queue()
    return {prompt.prompt_id for prompt in (*queue.running, *queue.pending)}


@pytest.mark.parametrize("reported", ["its server", "no server"])
def test_a_running_job_is_cancelled_and_its_render_stopped_and_no_other(
    engine: Engine, client: ComfyUIClient, reported: str
) -> None:
    job = rendering(engine, client, client.url if reported == "its server" else None)
    wait_until(lambda: client.queue().is_running(prompt_id(job.id, 1)), "it runs")
    foreign = post(client, str(uuid4()))

    (cancelled,) = cancel_jobs(engine, "demo", [job.id], servers=[AWAY, client.url])

    assert cancelled.status is JobStatus.CANCELLED
    wait_until(lambda: on_server(client) == {foreign}, "only the foreign prompt is there")
    wait_until(lambda: client.queue().is_running(foreign), "it runs")


def test_a_render_that_waits_in_the_servers_queue_is_taken_out(
    engine: Engine, client: ComfyUIClient
) -> None:
    foreign = post(client, str(uuid4()))
    job = rendering(engine, client)
    cancel_jobs(engine, "demo", [job.id], servers=[client.url])
    wait_until(lambda: on_server(client) == {foreign}, "only the foreign prompt is there")


def test_the_prompt_that_a_dead_worker_left_is_stopped_too(
    engine: Engine, client: ComfyUIClient
) -> None:
    job = rendering(engine, client, client.url)
    run_out_leases(engine, job)
    with transaction(engine) as session:
        job_queue.expire_leases(session)
    end_backoff(engine)
    assert claim_one(engine).lease_token == 2
    with transaction(engine) as session:
        session.execute(text("UPDATE jobs SET server = :away"), {"away": AWAY})

    cancel_jobs(engine, "demo", [job.id], servers=[AWAY, client.url])

    wait_until(lambda: on_server(client) == set(), "the server is idle")


def test_a_server_is_reached_with_its_credentials(
    engine: Engine, client: ComfyUIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job queue has the address without them."""
    job = rendering(engine, client, client.url)
    seen: list[str] = []
    send = httpx.Client.send

    def recorded(self: httpx.Client, *args: object, **arguments: object) -> httpx.Response:
        if isinstance(self.auth, httpx.BasicAuth):
            seen.append("basic")
        return send(self, *args, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(httpx.Client, "send", recorded)
    url = client.url.replace("http://", "http://user:secret@")
    cancel_jobs(engine, "demo", [job.id], servers=[AWAY, url])
    assert seen
    wait_until(lambda: on_server(client) == set(), "the server is idle")


def test_a_server_that_is_away_is_no_obstacle(engine: Engine, comfyui: ComfyUISimulator) -> None:
    assert comfyui
    submit(engine, "one")
    job = claim_one(engine)
    started = time.monotonic()
    assert cancel_jobs(engine, "demo", [job.id], servers=[AWAY])[0].status is JobStatus.CANCELLED
    assert time.monotonic() - started < 5


def test_a_job_that_was_never_claimed_asks_no_server(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ComfyUIClient, "queue", lambda _: pytest.fail("a server was asked"))
    (job,) = submit(engine, "one")
    assert cancel_jobs(engine, "demo", [job.id], servers=[AWAY])[0].status is JobStatus.CANCELLED


def test_a_job_that_has_ended_stays_as_it_is(engine: Engine) -> None:
    submit(engine, "one")
    done = claim_one(engine)
    complete_job(engine, done)
    assert cancel_jobs(engine, "demo", [done.id], servers=[AWAY])[0].status is JobStatus.COMPLETED


def test_one_unknown_job_keeps_all_from_being_cancelled(engine: Engine) -> None:
    (mine,), (theirs,) = submit(engine, "mine"), submit(engine, "theirs", tenant="other")
    with pytest.raises(PermanentError, match=f"'demo' has no job {theirs.id}"):
        cancel_jobs(engine, "demo", [mine.id, theirs.id], servers=[AWAY])
    assert status(engine, mine).status is JobStatus.PENDING
    assert status(engine, theirs).status is JobStatus.PENDING


def test_all_open_jobs_of_a_tenant_are_cancelled_and_their_renders_stopped(
    engine: Engine, client: ComfyUIClient
) -> None:
    rendering(engine, client)
    submit(engine, "done")
    done = claim_one(engine)
    complete_job(engine, done)
    waiting = submit(engine, "two", "three")
    with transaction(engine) as session:
        (video,) = job_queue.submit(session, "demo", DAY, [video_request(waiting[0].id)])
    (theirs,) = submit(engine, "theirs", tenant="other")

    assert cancel_open_jobs(engine, "demo", servers=[client.url]) == 4

    with transaction(engine) as session:
        counts = job_queue.count_by_status(session, "demo")
    assert (counts[JobStatus.CANCELLED], counts[JobStatus.COMPLETED]) == (4, 1)
    assert status(engine, video).status is JobStatus.CANCELLED
    assert status(engine, theirs).status is JobStatus.PENDING
    wait_until(lambda: on_server(client) == set(), "the server is idle")


def test_only_jobs_of_a_day_and_a_kind_are_cancelled_and_their_videos_fail(engine: Engine) -> None:
    (image,) = submit(engine, "one")
    with transaction(engine) as session:
        (video,) = job_queue.submit(session, "demo", DAY, [video_request(image.id)])
        other_day = DAY.replace(day=1)
    assert cancel_open_jobs(engine, "demo", day=other_day, servers=[AWAY]) == 0
    number = cancel_open_jobs(engine, "demo", day=TODAY.day, kind=JobKind.IMAGE, servers=[AWAY])
    assert number == 1
    now = status(engine, video)
    assert (now.status, "cancelled" in (now.error or "")) == (JobStatus.FAILED, True)
    assert claim_all(engine) == []
