"""Socket messages of recorded runs, decoded."""

import base64
import json
from typing import Any

import pytest

from influencerai_dagster.engines.comfyui.progress_socket import (
    NodeProgress,
    PreviewImage,
    QueueChanged,
    RunEnded,
    ServerEvent,
    UnknownEvent,
    decode_binary,
    decode_text,
)
from influencerai_dagster_tests.testing.comfyui_recordings import recording, recording_names


def _events(name: str) -> list[ServerEvent]:
    messages: list[dict[str, Any]] = recording(name)["messages"]
    return [
        decode_text(json.dumps({"type": item["type"], "data": item["data"]}))
        for item in messages
        if "type" in item
    ]


def _runs() -> list[str]:
    """Return the socket logs of the client that submitted; other clients do not hear the end."""
    return [name for name in recording_names("runs/*_ws") if "bystander" not in name]


@pytest.mark.parametrize("name", _runs())
def test_every_recorded_run_ends_with_the_end_of_its_prompt(name: str) -> None:
    content = recording(name)
    prompt_id = str(content.get("prompt_id") or content.get("b") or content.get("second"))
    events = _events(name)
    assert [item for item in events if isinstance(item, RunEnded)][-1] == RunEnded(prompt_id)


def test_two_queued_runs_are_told_apart() -> None:
    content = recording("runs/two_queued_ws")
    ended = [item for item in _events("runs/two_queued_ws") if isinstance(item, RunEnded)]
    assert ended == [RunEnded(content["a"]), RunEnded(content["b"])]


def test_sampler_steps_are_progress_of_their_node() -> None:
    prompt_id = recording("runs/success_metadata_preview_ws")["prompt_id"]
    events = _events("runs/success_metadata_preview_ws")
    assert NodeProgress(prompt_id, "6", 1, 2) in events
    assert NodeProgress(prompt_id, "6", 2, 2) in events


def test_status_says_only_that_the_queue_changed() -> None:
    assert _events("ws/connect_after_run") == [QueueChanged()]


def test_the_first_message_of_a_late_socket_is_nobodys() -> None:
    events = _events("ws/connect_mid_run")
    assert events[1] == UnknownEvent()
    assert not any(isinstance(item, RunEnded) and not item.prompt_id for item in events)


def test_a_recorded_preview_frame_names_its_prompt_and_holds_a_jpeg() -> None:
    content = recording("ws/binary_preview_frame_metadata")
    event = decode_binary(base64.b64decode(content["base64"]))
    assert isinstance(event, PreviewImage)
    assert event.prompt_id == content["decoded"]["metadata"]["prompt_id"]
    assert event.node_id == "6"
    assert len(event.content) == content["decoded"]["image_bytes"]
    assert event.content.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\0\0\0\1\0\0\0\1\xff\xd8\xff", id="legacy preview"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\0\4\0\0", id="cut in the header"),
        pytest.param(b"\0\0\0\4\xff\xff\xff\xff{", id="cut in the JSON"),
        pytest.param(b"\0\0\0\4\0\0\0\2[]", id="JSON of another type"),
        pytest.param(b"\0\0\0\x63\0\0\0\0", id="unknown event"),
    ],
)
def test_a_frame_that_names_no_prompt_is_nobodys(frame: bytes) -> None:
    assert decode_binary(frame) == UnknownEvent()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        '{"type": "progress"}',
        '{"type": "progress", "data": []}',
        '{"type": "progress", "data": {"value": "x", "max": 2, "node": "1"}}',
        '{"type": "progress_state", "data": {"nodes": {"1": 5}}}',
        '{"type": "crystools.monitor", "data": {"cpu": 1}}',
    ],
)
def test_a_message_of_another_form_is_nobodys(text: str) -> None:
    assert decode_text(text) == UnknownEvent()
