"""WebSockets and restarts of the simulated ComfyUI are those recorded."""

import signal

import pytest
from websockets.exceptions import ConnectionClosed

from influencerai_dagster_tests.testing.comfyui_prompts import colour, start_long_run
from influencerai_dagster_tests.testing.comfyui_recordings import recording
from influencerai_dagster_tests.testing.comfyui_replay import (
    finished,
    listening,
    post,
    receive,
    receive_until_end,
    recorded_messages,
    shape,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.waiting import wait_until


def test_a_socket_that_connects_in_the_middle_hears_the_running_node_first(
    comfyui: ComfyUISimulator,
) -> None:
    start_long_run(comfyui, client_id="late")
    recorded = recorded_messages(recording("ws/connect_mid_run"))[:2]
    with listening(comfyui, "late") as socket:
        messages = [receive(socket), receive(socket)]
    assert [shape(message) for message in messages] == [shape(message) for message in recorded]


def test_a_socket_without_client_id_is_given_one(comfyui: ComfyUISimulator) -> None:
    recorded = recorded_messages(recording("ws/connect_without_client_id"))
    with listening(comfyui) as socket:
        message = receive(socket)
    assert shape(message) == shape(recorded[0])
    assert len(message["data"]["sid"]) == len(recorded[0]["data"]["sid"])


def test_the_second_socket_of_a_client_takes_over_and_goes_deaf_with_the_first(
    comfyui: ComfyUISimulator,
) -> None:
    recorded = recording("ws/two_sockets_same_client_id")
    with listening(comfyui, "twin") as second_home:
        receive(second_home)
        with listening(comfyui, "twin") as second:
            receive(second)
            post(comfyui, colour(1), client_id="twin")
            kinds = [message["type"] for message in receive_until_end(second)]
            assert kinds == recorded["both_open"]["second_socket"][1:]
            second_home.close()
            wait_until(lambda: _is_deaf(comfyui), "the server to forget the client id")
            finished(comfyui, post(comfyui, colour(2), client_id="twin"))
            with pytest.raises(TimeoutError):
                second.recv(timeout=0.2)


def _is_deaf(server: ComfyUISimulator) -> bool:
    return not server.stats()["open_client_ids"]


def test_a_message_above_4_mib_closes_the_socket_as_recorded(comfyui: ComfyUISimulator) -> None:
    expected = recording("sizes/ws_5MiB_to_server")["messages"][-1]["closed"]["code"]
    with listening(comfyui, "bigws") as socket:
        receive(socket)
        socket.send("x" * 5 * 1024 * 1024)
        with pytest.raises(ConnectionClosed) as closed:
            receive(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == expected


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_restart_forgets_queue_history_and_previews(comfyui: ComfyUISimulator, name: str) -> None:
    recorded = recording(f"restart/{name}")
    prompt = colour(1)
    prompt["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    done = post(comfyui, prompt)
    (preview,) = finished(comfyui, done)["outputs"]["2"]["images"]
    assert comfyui.http.get("/view", params=preview).status_code == 200
    running = start_long_run(comfyui)
    pending = post(comfyui, colour(2))
    with listening(comfyui, "a") as socket:
        comfyui.process.send_signal(getattr(signal, name))
        with pytest.raises(ConnectionClosed) as closed:
            receive_until_end(socket)
    assert closed.value.rcvd is None  # no close frame: code 1006
    comfyui.process.wait(timeout=5)
    comfyui.start()
    after = recorded["after_restart"]
    assert comfyui.http.get("/queue").json() == after["queue"]
    for prompt_id in (done, running, pending):
        assert comfyui.http.get(f"/history/{prompt_id}").json() == {}
    code = comfyui.http.get("/view", params=preview).status_code
    assert code == after["temp_preview_after"]
    answer = comfyui.http.post("/prompt", json={"prompt": colour(3)}).json()
    assert answer["number"] == after["first_number"]
