"""Every fault of the simulated ComfyUI does what its name says, and nothing else stays broken."""

import json
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from influencerai_dagster_tests.testing.comfyui_prompts import colour, text_to_image
from influencerai_dagster_tests.testing.comfyui_replay import (
    finished,
    listening,
    post,
    receive,
    receive_until_end,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator, comfyui_simulator
from influencerai_dagster_tests.testing.waiting import wait_until


def test_a_failure_on_demand_looks_like_a_real_one(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(fail_next=1)
    kind, data = finished(comfyui, post(comfyui, text_to_image(seed=1)))["status"]["messages"][-1]
    assert kind == "execution_error"
    assert (data["node_type"], data["exception_type"]) == ("KSampler", "torch.OutOfMemoryError")
    assert finished(comfyui, post(comfyui, text_to_image(seed=1)))["status"]["completed"]


def test_a_fail_rate_of_one_fails_every_prompt(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(fail_rate=1.0, fail_node="SaveImage")
    entry = finished(comfyui, post(comfyui, colour(1)))
    assert entry["status"]["status_str"] == "error"


def test_a_lost_output_is_a_success_without_a_file(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(lose_outputs_next=1)
    entry = finished(comfyui, post(comfyui, colour(2)))
    assert entry["status"]["completed"]
    image = entry["outputs"]["2"]["images"][0]
    assert comfyui.http.get("/view", params=image).status_code == 404


def test_history_can_lag_behind_execution_success(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(history_lag_seconds=0.3)
    with listening(comfyui, "a") as socket:
        prompt_id = post(comfyui, colour(3), client_id="a")
        while receive(socket)["type"] != "execution_success":
            pass
        assert comfyui.http.get(f"/history/{prompt_id}").json() == {}
        receive_until_end(socket)
        assert prompt_id in comfyui.http.get(f"/history/{prompt_id}").json()


def test_a_hung_worker_accepts_prompts_and_runs_none(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(hang_worker=True, seconds_per_step=0.01)
    prompt_id = post(comfyui, text_to_image(seed=4))
    assert comfyui.http.get("/prompt").json()["exec_info"]["queue_remaining"] == 1
    assert comfyui.http.get(f"/history/{prompt_id}").json() == {}
    comfyui.faults(hang_worker=False)
    assert finished(comfyui, prompt_id)["status"]["completed"]


def test_a_silent_socket_stays_open_and_hears_nothing(comfyui: ComfyUISimulator) -> None:
    with listening(comfyui, "a") as socket:
        receive(socket)
        comfyui.faults(silent=True)
        finished(comfyui, post(comfyui, colour(5), client_id="a"))
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.2)
        comfyui.faults(silent=False)
        post(comfyui, colour(6), client_id="a")
        assert receive_until_end(socket)


def test_dropped_sockets_end_without_a_close_frame(comfyui: ComfyUISimulator) -> None:
    with listening(comfyui, "a") as socket:
        receive(socket)
        comfyui.faults(drop_sockets=True)
        with pytest.raises(ConnectionClosed) as closed:
            receive(socket)
    assert closed.value.rcvd is None
    with listening(comfyui, "a") as again:
        assert receive(again)["type"] == "status"


def test_refused_connections_come_back_on_the_same_port(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(refuse_connections_seconds=0.5)
    wait_until(lambda: not _answers(comfyui), "connections to be refused")
    wait_until(lambda: _answers(comfyui), "connections to be accepted again")


def _answers(server: ComfyUISimulator) -> bool:
    try:
        server.http.get("/queue", timeout=5)
    except httpx.TransportError:
        return False
    return True


def test_a_status_code_can_replace_the_next_answers(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(http_status_next=2, http_status=503, http_path="/queue")
    codes = [comfyui.http.get("/queue").status_code for _ in range(3)]
    assert codes == [503, 503, 200]


def test_a_lost_answer_leaves_the_prompt_accepted(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(drop_answers_next=1)
    with pytest.raises(httpx.TransportError):
        post(comfyui, colour(7), prompt_id="answer-lost")
    assert finished(comfyui, "answer-lost")["status"]["completed"]
    prompt = comfyui.stats()["prompts"]["answer-lost"]
    assert prompt == {"posted": 1, "executed": 1, "rendered": 0, "outcome": "execution_success"}


def test_statistics_tell_a_rendering_from_an_answer_out_of_the_cache(
    comfyui: ComfyUISimulator,
) -> None:
    for prompt_id in ("rendered", "cached"):
        finished(comfyui, post(comfyui, text_to_image(seed=8), prompt_id=prompt_id))
    prompts = comfyui.stats()["prompts"]
    assert (prompts["rendered"]["rendered"], prompts["cached"]["rendered"]) == (1, 0)


def test_a_delayed_answer_runs_into_the_clients_time_limit(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(answer_delay_seconds=1.0)
    with pytest.raises(httpx.ReadTimeout):
        comfyui.http.get("/queue", timeout=0.2)


@pytest.mark.parametrize("values", [{"no_such_fault": 1}, {"fail_next": "many"}, {"silent": 1}])
def test_an_unknown_fault_is_refused_by_name(
    comfyui: ComfyUISimulator, values: dict[str, object]
) -> None:
    answer = comfyui.http.post("/simulator/faults", json=values)
    assert answer.status_code == 400
    assert next(iter(values)) in answer.json()["error"]


def test_a_crash_in_a_prompt_ends_the_process_and_a_restart_serves_again(
    comfyui: ComfyUISimulator,
) -> None:
    comfyui.faults(crash_after_prompts=1)
    with suppress(httpx.TransportError):  # the crash may be faster than the answer
        post(comfyui, colour(9), prompt_id="crashing")
    assert comfyui.process.wait(timeout=10) == 1
    comfyui.start()
    assert comfyui.http.get("/history/crashing").json() == {}


def test_faults_can_be_set_on_the_command_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("options")
    with comfyui_simulator(folder, fail_rate=1.0, fail_node="EmptyImage") as server:
        kind, data = finished(server, post(server, colour(1)))["status"]["messages"][-1]
    assert (kind, data["node_type"]) == ("execution_error", "EmptyImage")


def test_a_taken_port_is_named_in_one_line(comfyui: ComfyUISimulator) -> None:
    with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{comfyui.port}"):
        ComfyUISimulator(comfyui.root, {}, (), comfyui.port)


def test_the_journal_tells_what_happened_also_before_a_kill(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with comfyui_simulator(tmp_path / "comfyui", journal=journal) as server:
        server.faults(lose_outputs_next=1)
        prompt_id = post(server, colour(2))
        finished(server, prompt_id)
        wait_until(lambda: "finished" in journal.read_text(), "the line of its end")
        server.restart()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        *("started", "posted", "executed", "lost", "finished"),
        "started",
    ]
    assert {line["prompt_id"] for line in lines[1:5]} == {prompt_id}
    assert lines[4]["outcome"] == "execution_success"
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
