"""Runs while something goes wrong: the simulator provokes every fault."""

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.values import RenderProgress, RenderResult, RunStatus
from influencerai_dagster.errors import InsufficientStorageError, PermanentError, TransientError
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.comfyui_workflows import (
    new_id,
    open_image,
    plain_workflow,
    run_alone,
    sampled_workflow,
)
from influencerai_dagster_tests.testing.waiting import wait_until

STEPS = 20
DEADLINE_SECONDS = 60.0


class CountingTransport(httpx.HTTPTransport):
    """Counts requests by method and path."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests[f"{request.method} {request.url.path.split('/')[1]}"] += 1
        return super().handle_request(request)


class BackgroundRun:
    """A run in a thread of its own, which tells when the sampler has begun."""

    def __init__(self, client: ComfyUIClient, **options: Any) -> None:
        self.prompt_id: str = options.pop("prompt_id", None) or new_id()
        self.steps: int = options.pop("steps", STEPS)
        self._has_begun = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[RenderResult] = self._pool.submit(self._run, client, options)

    def _run(self, client: ComfyUIClient, options: dict[str, Any]) -> RenderResult:
        return run_alone(
            client,
            sampled_workflow(client, self.prompt_id, steps=self.steps),
            prompt_id=self.prompt_id,
            on_progress=self._note,
            **{"timeout_seconds": 30.0, "silence_seconds": 0.3} | options,
        )

    def _note(self, progress: RenderProgress) -> None:
        if progress.node_class == "KSampler" and progress.value >= 1:
            self._has_begun.set()

    def wait_until_sampling(self) -> None:
        assert self._has_begun.wait(DEADLINE_SECONDS), "the sampler did not begin"

    def result(self) -> RenderResult:
        with self._pool:
            return self._future.result(timeout=DEADLINE_SECONDS)


@pytest.fixture
def slow(simulator: ComfyUISimulator) -> ComfyUISimulator:
    """A render of STEPS steps takes half a second."""
    simulator.faults(seconds_per_step=0.5 / STEPS)
    return simulator


def test_previews_come_with_the_step_that_they_show(client: ComfyUIClient) -> None:
    prompt_id, events = new_id(), list[RenderProgress]()
    workflow = sampled_workflow(client, prompt_id, steps=3)
    run_alone(client, workflow, prompt_id=prompt_id, timeout_seconds=20, on_progress=events.append)
    previews = [item for item in events if item.preview_image is not None]
    assert [item.value for item in previews] == [1, 2, 3]
    assert previews[0].preview_image is not None
    assert open_image(previews[0].preview_image).format == "JPEG"


def test_a_run_is_waited_for_on_the_socket_and_not_polled(slow: ComfyUISimulator) -> None:
    transport = CountingTransport()
    with ComfyUIClient(slow.url, transport=transport) as client:
        BackgroundRun(client, silence_seconds=15.0).result()
    assert transport.requests == {
        "GET models": 1,
        "GET history": 3,  # twice before submitting, once at the end
        "GET queue": 1,
        "POST prompt": 1,
        "GET view": 1,
    }


def test_a_run_that_another_worker_submitted_is_waited_for(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    prompt_id = new_id()
    workflow = sampled_workflow(client, prompt_id, steps=STEPS)
    client.submit(workflow, prompt_id=prompt_id, client_id="another-worker")
    result = run_alone(client, workflow, prompt_id=prompt_id, timeout_seconds=20)
    assert result.was_found
    assert slow.stats()["prompts"][prompt_id]["posted"] == 1


def test_two_prompts_queued_on_one_server_both_come_back(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    runs = [BackgroundRun(client) for _ in range(2)]
    results = [run.result() for run in runs]
    assert {result.prompt_id for result in results} == {run.prompt_id for run in runs}
    assert all(slow.stats()["prompts"][run.prompt_id]["rendered"] == 1 for run in runs)


def test_a_dropped_socket_does_not_lose_the_run(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    run = BackgroundRun(client, silence_seconds=15.0)
    run.wait_until_sampling()
    slow.faults(drop_sockets=True)
    started = time.monotonic()
    assert len(run.result().files) == 1
    assert time.monotonic() - started < 5, "the fresh socket's status messages were not heard"
    assert slow.stats()["prompts"][run.prompt_id]["rendered"] == 1


def test_a_short_absence_of_the_server_does_not_lose_the_run(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    run = BackgroundRun(client)
    run.wait_until_sampling()
    slow.faults(refuse_connections_seconds=0.5)
    assert len(run.result().files) == 1
    assert slow.stats()["prompts"][run.prompt_id]["rendered"] == 1


def test_a_silent_socket_does_not_lose_the_run(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    slow.faults(silent=True)
    assert len(BackgroundRun(client).result().files) == 1


def test_history_that_lags_behind_the_socket_is_waited_for(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    simulator.faults(history_lag_seconds=0.4)
    assert len(BackgroundRun(client, silence_seconds=0.1).result().files) == 1


def test_a_server_that_restarts_has_lost_the_prompt(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    run = BackgroundRun(client)
    run.wait_until_sampling()
    slow.restart()
    with pytest.raises(TransientError, match=rf"lost prompt {run.prompt_id}.*Submit it again"):
        run.result()


def test_a_server_that_stays_away_is_given_up(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    run = BackgroundRun(client, timeout_seconds=2.0)
    run.wait_until_sampling()
    slow.kill()
    with pytest.raises(TransientError, match=slow.url.removeprefix("http://")):
        run.result()


def _kill_worker(server: ComfyUISimulator, client: ComfyUIClient) -> None:
    """End the worker thread by equal numbers and ids (docs/protocols/comfyui.md, point 2)."""
    first = BackgroundRun(client)
    first.wait_until_sampling()
    for color in range(3):
        body = {"prompt": plain_workflow("tie", color=color), "prompt_id": "tie", "number": 900}
        httpx.post(f"{server.url}/prompt", json=body)
    first.result()
    wait_until(lambda: not server.stats()["is_worker_alive"], "the worker has died")


def test_a_dead_worker_thread_is_told_from_a_long_queue(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    _kill_worker(slow, client)
    run = BackgroundRun(client, timeout_seconds=2 * DEADLINE_SECONDS)
    with pytest.raises(TransientError, match="worker thread is dead"):
        run.result()
    assert not client.queue().is_pending(run.prompt_id)


@pytest.mark.usefixtures("slow")
def test_a_long_wait_behind_a_running_prompt_is_no_dead_worker(client: ComfyUIClient) -> None:
    first = BackgroundRun(client, silence_seconds=0.1)
    first.wait_until_sampling()
    second = BackgroundRun(client, silence_seconds=0.1)
    assert len(first.result().files) == len(second.result().files) == 1


def test_the_time_limit_of_a_prompt_that_waits_begins_when_it_runs(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    first = BackgroundRun(client)
    first.wait_until_sampling()
    second = BackgroundRun(client, steps=4, timeout_seconds=0.4)  # 0.1 s, behind half a second
    assert len(second.result().files) == 1
    third = BackgroundRun(client, timeout_seconds=0.2)
    with pytest.raises(TransientError, match="time limit"):
        third.result()
    assert len(first.result().files) == 1
    wait_until(
        lambda: slow.stats()["prompts"][third.prompt_id]["outcome"] == "execution_interrupted",
        "it is interrupted",
    )


def test_running_out_of_memory_is_transient(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    simulator.faults(fail_next=1)
    with pytest.raises(TransientError, match=r"KSampler.*OutOfMemoryError"):
        BackgroundRun(client).result()


def test_a_full_disk_of_the_server_is_insufficient_storage(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    message = "[Errno 28] No space left on device: 'output'"
    simulator.faults(fail_next=1, fail_node="SaveImage", fail_type="OSError", fail_message=message)
    with pytest.raises(InsufficientStorageError, match="Make space"):
        BackgroundRun(client).result()


def test_a_failure_found_in_history_is_told_and_not_rendered_again(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    simulator.faults(fail_next=1, fail_type="ValueError", fail_message="odd shape")
    first = BackgroundRun(client)
    with pytest.raises(PermanentError, match="ValueError: odd shape"):
        first.result()
    with pytest.raises(PermanentError, match="ValueError: odd shape"):
        BackgroundRun(client, prompt_id=first.prompt_id).result()
    assert simulator.stats()["prompts"][first.prompt_id]["posted"] == 1


def test_a_file_that_is_lost_after_the_run_is_transient(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    simulator.faults(lose_outputs_next=1)
    with pytest.raises(TransientError, match="another filename_prefix"):
        BackgroundRun(client).result()


def test_a_submission_whose_answer_is_lost_leaves_no_prompt_behind(
    slow: ComfyUISimulator, client: ComfyUIClient
) -> None:
    # It would end by itself after minutes, however late it is cancelled.
    slow.faults(drop_answers_next=1, http_path="/prompt", seconds_per_step=0.5)
    run = BackgroundRun(client, steps=200)
    with pytest.raises(TransientError, match="/prompt"):
        run.result()
    wait_until(
        lambda: (
            not client.queue().is_running(run.prompt_id)
            and not client.queue().is_pending(run.prompt_id)
        ),
        "the prompt has left the queue",
    )
    entry = client.history(run.prompt_id)
    assert entry is None or entry.status is RunStatus.INTERRUPTED


def test_a_server_that_is_overloaded_is_transient(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    simulator.faults(http_status_next=1, http_status=503, http_path="/prompt")
    with pytest.raises(TransientError, match="503"):
        BackgroundRun(client).result()


def test_an_error_while_cancelling_does_not_hide_the_cause(
    simulator: ComfyUISimulator, client: ComfyUIClient
) -> None:
    def stop(_: RenderProgress) -> None:
        simulator.faults(http_status_next=5, http_status=500, http_path="/queue")
        raise KeyboardInterrupt

    prompt_id = new_id()
    workflow = sampled_workflow(client, prompt_id, steps=3)
    with pytest.raises(KeyboardInterrupt):
        run_alone(client, workflow, prompt_id=prompt_id, timeout_seconds=20, on_progress=stop)


def test_a_run_that_saves_nothing_is_a_permanent_error(client: ComfyUIClient) -> None:
    prompt_id = new_id()
    workflow = plain_workflow(prompt_id)
    workflow["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    with pytest.raises(PermanentError, match="saved no file"):
        run_alone(client, workflow, prompt_id=prompt_id, timeout_seconds=20)


def test_a_server_that_is_away_is_transient_before_anything_is_sent(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with ComfyUIClient(url) as client, pytest.raises(TransientError, match=url):
        run_alone(client, {}, prompt_id=new_id(), timeout_seconds=5)
