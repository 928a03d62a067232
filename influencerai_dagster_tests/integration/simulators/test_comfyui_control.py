"""Queue order, interrupts, sockets and restarts of the simulated ComfyUI are those recorded."""

from typing import Any

from influencerai_dagster_tests.testing.comfyui_prompts import (
    assert_like_recorded,
    colour,
    recorded_history,
    start_long_run,
    text_to_image,
)
from influencerai_dagster_tests.testing.comfyui_recordings import recording
from influencerai_dagster_tests.testing.comfyui_replay import (
    finished,
    interrupt,
    listening,
    outline,
    post,
    queue_ids,
    receive,
    receive_until_end,
    recorded_messages,
    shape,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.waiting import wait_until


def test_the_queue_shows_running_and_pending_prompts_as_recorded(comfyui: ComfyUISimulator) -> None:
    start_long_run(comfyui, client_id="a")
    post(comfyui, text_to_image(seed=2), client_id="a")
    body = comfyui.http.get("/queue").json()
    (pending,) = body.pop("queue_pending")
    expected = recording("http/queue_running")["response"]["body"]["queue_running"][0]
    (running,) = body["queue_running"]
    for item in (running, pending):
        assert shape([*item[:3], item[4]]) == shape([*expected[:3], expected[4]])
        assert item[3] == {"client_id": "a"}
    assert comfyui.http.get("/prompt").json() == {"exec_info": {"queue_remaining": 2}}


def test_pending_prompts_are_listed_as_a_heap_and_run_by_number(comfyui: ComfyUISimulator) -> None:
    recorded = recording("runs/queue_pending_not_sorted")
    blocker = start_long_run(comfyui)
    for number in recorded["posted_numbers"]:
        post(comfyui, colour(number), prompt_id=f"n{number}", number=number)
    listed = [item[0] for item in comfyui.http.get("/queue").json()["queue_pending"]]
    assert listed == recorded["pending_as_listed"]
    interrupt(comfyui, prompt_id=blocker)
    finished(comfyui, "n205")
    assert comfyui.stats()["order"][-6:] == [blocker, "n201", "n202", "n203", "n204", "n205"]


def test_front_and_explicit_numbers_are_counted_as_recorded(comfyui: ComfyUISimulator) -> None:
    start_long_run(comfyui)
    numbers = []
    for more in ({}, {"front": True}, {"number": -5}, {}):
        answer = comfyui.http.post("/prompt", json={"prompt": colour(1), **more})
        numbers.append(answer.json()["number"])
    first = numbers[0]
    assert numbers == [first, -(first + 1), -5.0, first + 2]


def test_deleting_and_clearing_never_touch_the_running_prompt(comfyui: ComfyUISimulator) -> None:
    running = start_long_run(comfyui)
    first, second, third = (post(comfyui, colour(number)) for number in (1, 2, 3))
    comfyui.http.post("/queue", json={"delete": [running, first, "unknown"]})
    assert queue_ids(comfyui, "queue_pending") == [second, third]
    comfyui.http.post("/queue", json={"clear": True})
    assert queue_ids(comfyui, "queue_pending") == []
    assert queue_ids(comfyui, "queue_running") == [running]
    assert comfyui.http.get(f"/history/{first}").json() == {}


def test_a_targeted_interrupt_ends_the_run_at_its_next_step(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(seconds_per_step=0.5)  # 40 steps, as recorded, outlast every request below
    with listening(comfyui, "a") as socket:
        receive(socket)
        prompt_id = post(comfyui, text_to_image(steps=40, seed=100), client_id="a")
        interrupt(comfyui, prompt_id="not this one")
        messages: list[dict[str, Any]] = []
        while not messages or messages[-1]["type"] != "progress":
            messages.append(receive(socket))
        interrupt(comfyui, prompt_id=prompt_id)
        messages += receive_until_end(socket)
    recorded = recorded_messages(recording("runs/interrupted_ws"))
    kinds = [
        line for line in outline(messages) if line[0] in {"execution_interrupted", "executing"}
    ]
    expected = [
        line for line in outline(recorded) if line[0] in {"execution_interrupted", "executing"}
    ]
    assert kinds == expected
    entry = finished(comfyui, prompt_id)
    assert_like_recorded(entry, recorded_history("interrupted"))


def test_a_global_interrupt_stops_whoever_runs_and_the_next_starts(
    comfyui: ComfyUISimulator,
) -> None:
    running = start_long_run(comfyui)
    following = post(comfyui, colour(1))
    assert comfyui.http.post("/interrupt").status_code == 200
    assert finished(comfyui, running)["status"]["messages"][-1][0] == "execution_interrupted"
    assert finished(comfyui, following)["status"]["completed"]


def test_an_interrupt_of_an_idle_server_is_forgotten(comfyui: ComfyUISimulator) -> None:
    interrupt(comfyui)
    assert finished(comfyui, post(comfyui, colour(1)))["status"]["completed"]


def test_an_interrupt_without_client_id_is_told_to_every_socket(comfyui: ComfyUISimulator) -> None:
    running = start_long_run(comfyui)
    with listening(comfyui, "another-client") as socket:
        interrupt(comfyui, prompt_id=running)
        message = receive(socket)
        while message["type"] != "execution_interrupted":
            message = receive(socket)
    recorded = recorded_messages(recording("runs/interrupted_no_client_id_bystander_ws"))
    expected = next(item for item in recorded if item["type"] == "execution_interrupted")
    assert set(message["data"]) == set(expected["data"])


def test_an_interrupt_waits_for_a_loading_model(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(load_seconds=600)
    running = start_long_run(comfyui)
    interrupt(comfyui, prompt_id=running)
    assert queue_ids(comfyui, "queue_running") == [running]
    comfyui.faults(load_seconds=0)
    kind, data = finished(comfyui, running)["status"]["messages"][-1]
    recorded = recording("runs/interrupt_during_model_load")["status"]["messages"][-1]
    assert (kind, data["node_id"], data["executed"]) == (
        recorded[0],
        recorded[1]["node_id"],
        recorded[1]["executed"],
    )


def test_a_tie_of_id_and_number_kills_the_worker_silently(comfyui: ComfyUISimulator) -> None:
    recorded = recording("runs/tie_same_id_same_number")
    running = start_long_run(comfyui)
    codes = [
        comfyui.http.post(
            "/prompt",
            json={"prompt": colour(number), "prompt_id": "tie-id", "number": 900},
        ).status_code
        for number in (11, 12, 13)
    ]
    assert codes == [code for code, _ in recorded["posts"]]
    assert len(queue_ids(comfyui, "queue_pending")) == len(recorded["pending_afterwards"])
    interrupt(comfyui, prompt_id=running)
    wait_until(lambda: not comfyui.stats()["is_worker_alive"], "the worker to die")
    assert queue_ids(comfyui, "queue_running") == recorded["after_the_running_one_ended"]["running"]
    assert queue_ids(comfyui, "queue_pending") == ["tie-id", "tie-id"]
    post(comfyui, colour(14))  # still accepted, never run
    assert len(queue_ids(comfyui, "queue_pending")) == 3


def test_a_duplicate_id_runs_twice_and_history_keeps_the_last(comfyui: ComfyUISimulator) -> None:
    running = start_long_run(comfyui)
    for number in (1, 2):
        post(comfyui, colour(number), prompt_id="same")
    interrupt(comfyui, prompt_id=running)
    wait_until(lambda: comfyui.stats()["prompts"]["same"]["executed"] == 2, "both runs")
    entry = wait_until(
        lambda: [
            entry
            for entry in comfyui.http.get("/history/same").json().values()
            if entry["prompt"][2]["1"]["inputs"]["color"] == 2
        ],
        "the second run in history",
    )
    assert len(entry) == 1
