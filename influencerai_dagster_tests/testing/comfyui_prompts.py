"""Workflows that the simulator's tests submit, and recorded histories to compare with."""

import json
from typing import Any

from influencerai_dagster_tests.testing.comfyui_recordings import recording
from influencerai_dagster_tests.testing.comfyui_replay import finished, post, queue_ids, shape
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.waiting import wait_until

Prompt = dict[str, Any]

LONG_RUN_STEPS = 10_000


def colour(number: int, prefix: str = "probe/color") -> Prompt:
    """Return a workflow that costs next to nothing."""
    size = {"width": 64, "height": 64, "batch_size": 1, "color": number}
    save = {"images": ["1", 0], "filename_prefix": prefix}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": save},
    }


def text_to_image(**sampling: Any) -> Prompt:
    """Return the recorded text-to-image workflow with other sampler values."""
    request = recording("runs/success_legacy_preview_post")["request"]
    prompt: Prompt = json.loads(json.dumps(request["json"]["prompt"]))
    prompt["6"]["inputs"] |= sampling
    return prompt


def run(server: ComfyUISimulator, prompt: Prompt, **more: Any) -> dict[str, Any]:
    return finished(server, post(server, prompt, **more))


def start_long_run(server: ComfyUISimulator, **more: Any) -> str:
    """Submit a prompt that does not end by itself and wait until it is running."""
    server.faults(seconds_per_step=0.01)
    prompt_id = post(server, text_to_image(steps=LONG_RUN_STEPS), **more)
    wait_until(lambda: prompt_id in queue_ids(server, "queue_running"), "the run to start")
    return prompt_id


def recorded_history(name: str) -> dict[str, Any]:
    content = recording(f"runs/{name}_history")
    body = content["response"]["body"] if "response" in content else {"": content}
    return dict(next(iter(body.values())))


def assert_like_recorded(entry: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare a history entry: the same keys and types, outcome, messages and outputs."""
    assert shape(entry) == shape(expected)
    assert entry["status"]["status_str"] == expected["status"]["status_str"]
    kinds = [kind for kind, _ in entry["status"]["messages"]]
    assert kinds == [kind for kind, _ in expected["status"]["messages"]]
    assert list(entry["outputs"]) == list(expected["outputs"])
    assert entry["prompt"][2] == expected["prompt"][2]
    assert entry["prompt"][4] == expected["prompt"][4]
