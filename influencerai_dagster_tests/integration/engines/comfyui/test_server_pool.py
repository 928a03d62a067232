"""Many servers: which are used, which are unhealthy, which come back; one socket for all runs."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.server import ServerHealth, ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.engines.comfyui.values import RenderProgress, RenderRequest, RenderResult
from influencerai_dagster.engines.comfyui.waiting import NeverStartedError
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.integration.engines.comfyui.test_runs import (
    _kill_worker as kill_worker,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator, comfyui_simulator
from influencerai_dagster_tests.testing.comfyui_workflows import (
    new_id,
    plain_workflow,
    sampled_workflow,
)
from influencerai_dagster_tests.testing.waiting import wait_until

AWAY = "http://127.0.0.1:9"
OFTEN = ServerTimes(probe_seconds=0.25, recheck_seconds=0.1)


@pytest.fixture
def second(tmp_path: Path) -> Iterator[ComfyUISimulator]:
    with comfyui_simulator(tmp_path, seconds_per_step=0.005) as server:
        yield server


def render(server_pool: ServerPool, url: str, *, steps: int = 1, **options: Any) -> RenderResult:
    prompt_id = options.pop("prompt_id", None) or new_id()
    workflow = sampled_workflow(server_pool[url].client, prompt_id, steps=steps)
    times = {"timeout_seconds": 30, "is_new": True, **options}
    return server_pool[url].run(RenderRequest(workflow, prompt_id, **times))


def test_servers_that_answer_are_usable_and_others_say_why_not(simulator: ComfyUISimulator) -> None:
    with ServerPool([AWAY, simulator.url], OFTEN) as server_pool:
        assert server_pool.usable() == {simulator.url: 0}
        (away, here) = server_pool.states()
        assert "does not answer" in (away.problem or "")
        assert here.problem is None
        assert [away.health, here.health] == [ServerHealth.AWAY, ServerHealth.HEALTHY]
        assert server_pool.least_loaded_for(plain_workflow("any")).url == simulator.url


def test_without_a_usable_server_the_reason_is_told_for_each() -> None:
    with (
        ServerPool([AWAY], OFTEN) as server_pool,
        pytest.raises(TransientError, match=r"127\.0\.0\.1:9: it does not answer"),
    ):
        server_pool.least_loaded_for({})


def test_the_least_loaded_server_is_the_one_with_the_shortest_queue(
    simulator: ComfyUISimulator, second: ComfyUISimulator
) -> None:
    simulator.faults(seconds_per_step=0.5)
    with (
        ServerPool([simulator.url, second.url], OFTEN) as server_pool,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(render, server_pool, simulator.url, steps=40)
        wait_until(lambda: server_pool.usable().get(simulator.url) == 1, "its queue is known")
        assert server_pool.least_loaded_for(plain_workflow("any")).url == second.url
        for prompt_id in simulator.stats()["order"][-1:]:
            server_pool[simulator.url].cancel(prompt_id)
        with pytest.raises(TransientError):
            running.result(timeout=20)


def test_a_server_that_stops_is_not_used_and_comes_back_by_itself(
    second: ComfyUISimulator,
) -> None:
    with ServerPool([second.url], OFTEN) as server_pool:
        assert server_pool.usable()
        second.kill()
        wait_until(lambda: not server_pool.usable(), "it is away")
        second.start()
        wait_until(server_pool.usable, "it is back")
        assert render(server_pool, second.url).files


def test_a_server_with_a_dead_worker_thread_is_not_used_and_frees_its_queued_prompts(
    second: ComfyUISimulator,
) -> None:
    second.faults(seconds_per_step=0.02)
    with ComfyUIClient(second.url) as client:
        kill_worker(second, client)
    with (
        ServerPool([second.url], replace(OFTEN, hung_seconds=0.5)) as server_pool,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(render, server_pool, second.url)
        with pytest.raises(NeverStartedError, match="worker thread is dead"):
            waiting.result(timeout=20)
        assert server_pool.states()[0].health is ServerHealth.HUNG
        second.restart()
        wait_until(server_pool.usable, "the restarted server is back at once")
        assert render(server_pool, second.url).files


def test_a_server_stuck_in_one_prompt_is_not_used_until_that_ends(
    second: ComfyUISimulator,
) -> None:
    second.faults(seconds_per_step=0.2)
    with (
        ServerPool([second.url], replace(OFTEN, stuck_seconds=0.5)) as server_pool,
        ThreadPoolExecutor(2) as pool,
    ):
        long = pool.submit(render, server_pool, second.url, steps=15)
        wait_until(lambda: second.stats()["order"], "it runs")
        behind = pool.submit(render, server_pool, second.url)
        with pytest.raises(NeverStartedError, match="it has executed prompt"):
            behind.result(timeout=20)
        assert server_pool.states()[0].health is ServerHealth.STUCK
        assert long.result(timeout=30).files, "the long one itself goes on"
        wait_until(server_pool.usable, "it is back")


def test_all_runs_of_a_server_share_one_socket_and_each_hears_its_own(
    simulator: ComfyUISimulator,
) -> None:
    heard: dict[str, list[RenderProgress]] = {new_id(): [] for _ in range(6)}
    before = simulator.stats()["connections"]
    with ServerPool([simulator.url], OFTEN) as server_pool, ThreadPoolExecutor(6) as pool:
        results = [
            pool.submit(
                render,
                server_pool,
                simulator.url,
                steps=3,
                prompt_id=prompt_id,
                on_progress=events.append,
            )
            for prompt_id, events in heard.items()
        ]
        assert {result.result(timeout=30).prompt_id for result in results} == heard.keys()
    assert simulator.stats()["connections"] == before + 1
    for prompt_id, events in heard.items():
        assert {item.prompt_id for item in events} == {prompt_id}


def test_a_shared_socket_that_drops_loses_no_run(simulator: ComfyUISimulator) -> None:
    simulator.faults(seconds_per_step=0.05)
    with ServerPool([simulator.url], OFTEN) as server_pool, ThreadPoolExecutor(3) as pool:
        results = [pool.submit(render, server_pool, simulator.url, steps=10) for _ in range(3)]
        queue = server_pool[simulator.url].client.queue
        wait_until(lambda: len(queue().running + queue().pending) == 3, "all are there")
        simulator.faults(drop_sockets=True)
        assert all(result.result(timeout=30).files for result in results)


def test_a_prompt_in_front_goes_before_those_that_wait(simulator: ComfyUISimulator) -> None:
    simulator.faults(seconds_per_step=0.1)
    first, second, third = new_id(), new_id(), new_id()
    with ServerPool([simulator.url], OFTEN) as server_pool, ThreadPoolExecutor(3) as pool:
        client = server_pool[simulator.url].client
        runs = [pool.submit(render, server_pool, simulator.url, prompt_id=first, steps=10)]
        wait_until(lambda: client.queue().is_running(first), "the first runs")
        runs.append(pool.submit(render, server_pool, simulator.url, prompt_id=second))
        wait_until(lambda: client.queue().is_pending(second), "the second waits")
        runs.append(pool.submit(render, server_pool, simulator.url, prompt_id=third, is_front=True))
        for run in runs:
            run.result(timeout=30)
    ours = [item for item in simulator.stats()["order"] if item in {first, second, third}]
    assert ours == [first, third, second]


def test_a_cancelled_prompt_ends_its_run_at_once_and_no_other(simulator: ComfyUISimulator) -> None:
    simulator.faults(seconds_per_step=0.1)
    running, waiting = new_id(), new_id()
    with ServerPool([simulator.url], OFTEN) as server_pool, ThreadPoolExecutor(2) as pool:
        client = server_pool[simulator.url].client
        first = pool.submit(render, server_pool, simulator.url, prompt_id=running, steps=20)
        wait_until(lambda: client.queue().is_running(running), "the first runs")
        second = pool.submit(render, server_pool, simulator.url, prompt_id=waiting)
        wait_until(lambda: client.queue().is_pending(waiting), "the second waits")
        started = time.monotonic()
        server_pool[simulator.url].cancel(waiting)
        with pytest.raises(NeverStartedError):
            second.result(timeout=20)
        assert time.monotonic() - started < 5, "it does not wait for a silence"
        assert first.result(timeout=30).files


def test_a_workflow_is_checked_again_before_a_new_model_is_called_unknown(
    simulator: ComfyUISimulator,
) -> None:
    with ServerPool([simulator.url], OFTEN) as server_pool:
        server = server_pool[simulator.url]
        workflow = sampled_workflow(server.client, new_id(), steps=1)
        server.check(workflow)
        loader = next(
            node for node in workflow.values() if node["class_type"] == "CheckpointLoaderSimple"
        )
        folder = simulator.models_dir / "checkpoints"
        (folder / "new.safetensors").symlink_to(folder / loader["inputs"]["ckpt_name"])
        loader["inputs"]["ckpt_name"] = "new.safetensors"
        server.check(workflow)
        loader["inputs"]["ckpt_name"] = "none.safetensors"
        with pytest.raises(PermanentError, match=r"none\.safetensors"):
            server.check(workflow)
        (folder / "new.safetensors").unlink()


def test_a_prompt_is_found_on_whichever_server_has_it(
    simulator: ComfyUISimulator, second: ComfyUISimulator
) -> None:
    prompt_id = new_id()
    with ServerPool([AWAY, simulator.url, second.url], OFTEN) as server_pool:
        request = RenderRequest(plain_workflow(prompt_id), prompt_id, timeout_seconds=30)
        server_pool[second.url].run(request)
        found = server_pool.find(prompt_id)
        assert found is not None
        assert found[0].url == second.url
        assert server_pool.find(new_id()) is None


def test_leaving_ends_all_threads(simulator: ComfyUISimulator) -> None:
    before = set(threading.enumerate())
    with ServerPool([simulator.url, AWAY], OFTEN) as server_pool:
        render(server_pool, simulator.url)
        assert set(threading.enumerate()) - before
    wait_until(lambda: set(threading.enumerate()) <= before, "all threads have ended")


def test_a_server_that_is_none_of_the_pool_is_refused_by_name() -> None:
    server_pool = ServerPool(["http://user:secret@gpu-1:8188"])
    assert server_pool["http://gpu-1:8188"].url == "http://gpu-1:8188"
    with pytest.raises(
        PermanentError, match=r"gpu-2 is not one of COMFYUI_URL .http://gpu-1:8188."
    ):
        server_pool["http://gpu-2"]
    server_pool.close()
