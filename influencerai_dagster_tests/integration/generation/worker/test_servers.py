"""Servers that are away, restart, hang or are busy cost no job an attempt."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import httpx
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster_tests.testing.catalog_rows import end_backoff
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import status, submit
from influencerai_dagster_tests.testing.render_servers import OFTEN
from influencerai_dagster_tests.testing.render_workers import (
    SLOW_STEPS,
    post_prompt,
    prompts_of,
    work_until_idle,
)
from influencerai_dagster_tests.testing.waiting import wait_until


def test_a_server_that_is_away_gets_no_job(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    jobs = submit(engine, "one", "two", "three")
    report = work_until_idle(renderer, urls=["http://127.0.0.1:9", comfyui.url])
    assert len(report.completed) == 3
    assert {status(engine, job).attempt for job in jobs} == {1}


def test_while_no_server_answers_jobs_wait_and_lose_no_attempt(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(refuse_connections_seconds=1.5)
    (job,) = submit(engine, "persistent")
    assert len(work_until_idle(renderer).completed) == 1
    assert status(engine, job).attempt == 1


def test_a_server_that_restarts_costs_no_attempt_of_those_that_wait_there(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=1.0)
    render_session = replace(
        renderer.render_session, timeout_seconds=600
    )  # its render ends with the server
    jobs = submit(engine, "one", "two", steps=SLOW_STEPS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(
            work_until_idle, ImageRenderer(engine, renderer.store, render_session)
        )
        wait_until(lambda: len(prompts_of(comfyui, *jobs)) == 2, "both are there")
        wait_until(lambda: bool(comfyui.stats()["order"]), "one runs")
        running, waiting = sorted(
            jobs, key=lambda job: prompt_id(job.id, 1) not in comfyui.stats()["order"]
        )
        wait_until(lambda: status(engine, running).progress > 0, "its worker knows")
        comfyui.restart()  # quick again
        wait_until(lambda: status(engine, running).error is not None, "its render is lost")
        end_backoff(engine)
        working.result(timeout=120)
    assert (status(engine, running).attempt, status(engine, waiting).attempt) == (2, 1)
    assert status(engine, running).status is JobStatus.COMPLETED
    assert status(engine, waiting).status is JobStatus.COMPLETED


def test_a_server_whose_worker_thread_died_loses_its_jobs_to_another_without_an_attempt(
    engine: Engine,
    renderer: ImageRenderer,
    comfyui: ComfyUISimulator,
    second_comfyui: ComfyUISimulator,
) -> None:
    kill_worker(second_comfyui)
    jobs = submit(engine, *(f"image {number}" for number in range(6)))
    servers = [second_comfyui.url, comfyui.url]
    report = work_until_idle(renderer, urls=servers, times=replace(OFTEN, hung_seconds=2))
    assert len(report.completed) == 6
    assert {status(engine, job).attempt for job in jobs} == {1}
    assert {output.comfyui_url for output in report.completed} == {comfyui.url}


def test_what_waits_behind_a_prompt_that_never_ends_goes_elsewhere_without_losing_an_attempt(
    engine: Engine,
    renderer: ImageRenderer,
    comfyui: ComfyUISimulator,
    second_comfyui: ComfyUISimulator,
) -> None:
    second_comfyui.faults(hang_worker=True)
    post_prompt(second_comfyui, "stuck")
    wait_until(lambda: second_comfyui.stats()["order"] == ["stuck"], "it is stuck")
    jobs = submit(engine, *(f"image {number}" for number in range(6)))
    servers = [second_comfyui.url, comfyui.url]
    report = work_until_idle(renderer, urls=servers, times=replace(OFTEN, stuck_seconds=1))
    assert len(report.completed) == 6
    assert {status(engine, job).attempt for job in jobs} == {1}
    assert {output.comfyui_url for output in report.completed} == {comfyui.url}


def kill_worker(comfyui: ComfyUISimulator) -> None:
    """End the worker thread by equal numbers and ids (docs/protocols/comfyui.md, point 2)."""
    comfyui.faults(seconds_per_step=0.2)
    post_prompt(comfyui, "first")
    for color in range(3):
        workflow = {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color},
            },
            "2": {
                "class_type": "SaveImage",
                "inputs": {"images": ["1", 0], "filename_prefix": "tie"},
            },
        }
        body = {"prompt": workflow, "prompt_id": "tie", "number": 900}
        httpx.post(f"{comfyui.url}/prompt", json=body)
    wait_until(lambda: not comfyui.stats()["is_worker_alive"], "its worker is dead")


def test_the_queue_of_a_server_counts_as_waiting_and_not_as_render_time(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=0.3)
    foreign = f"foreign-{uuid4()}"
    post_prompt(comfyui, foreign, steps=SLOW_STEPS)
    (submitted,) = submit(engine, "bella", steps=1)
    with ThreadPoolExecutor(1) as pool, ComfyUIClient(comfyui.url) as client:
        working = pool.submit(work_until_idle, renderer)
        wait_until(lambda: len(prompts_of(comfyui, submitted)) == 1, "it waits on the server")
        queued_at = time.monotonic()
        wait_until(lambda: time.monotonic() - queued_at > 0.5, "it has waited there")
        queued_seconds = time.monotonic() - queued_at
        client.cancel(foreign)
        (job,) = working.result(timeout=60).jobs
    assert job.output is not None
    assert job.seconds == job.output.render_seconds
    assert job.wait_seconds >= queued_seconds
