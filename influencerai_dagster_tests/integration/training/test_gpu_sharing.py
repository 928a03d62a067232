"""One GPU for training and rendering: ComfyUI is idle and has freed its memory before."""

from functools import partial
from uuid import uuid4

import pytest

from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.errors import TransientError
from influencerai_dagster.training.gpu_sharing import free_comfyui_memory
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.ports import free_port

free_memory = partial(free_comfyui_memory, poll_seconds=0.05)


class Lines(list[str]):
    """What was reported."""

    def about(self, word: str) -> list[str]:
        return [line for line in self if word in line]


def render(comfyui: ComfyUISimulator, *, seconds: float) -> str:
    """Queue an image that takes about so long; return its prompt_id."""
    comfyui.faults(seconds_per_step=seconds / 10)
    sampling = ImageSampling(
        prompt="bella",
        seed=uuid4().int % 2**32,
        steps=10,
        base_model="v1-5-pruned-emaonly.safetensors",
    )
    prompt_id = str(uuid4())
    workflow = fill_image_workflow(
        shipped_template("sd15_text_to_image"), sampling, filename_prefix=prompt_id
    )
    with ComfyUIClient(comfyui.url) as client:
        client.submit(workflow, prompt_id=prompt_id, client_id="test")
    return prompt_id


def free_requests(comfyui: ComfyUISimulator) -> int:
    return int(comfyui.stats()["free_requests"])


def test_an_idle_server_unloads_its_models_and_the_memory_is_reported(
    comfyui: ComfyUISimulator,
) -> None:
    lines, before = Lines(), free_requests(comfyui)
    free_memory([comfyui.url], wait_seconds=0, report=lines.append)
    assert free_requests(comfyui) == before + 1
    (line,) = lines
    assert comfyui.url in line
    assert line.count("MiB") == 2


def test_a_server_that_renders_is_waited_for(comfyui: ComfyUISimulator) -> None:
    lines, prompt_id = Lines(), render(comfyui, seconds=1.5)
    free_memory([comfyui.url], wait_seconds=30, report=lines.append)
    with ComfyUIClient(comfyui.url) as client:
        assert client.history(prompt_id) is not None
    assert lines.about("waiting for 1 prompts")
    assert lines.about("unloaded its models")


def test_a_server_that_does_not_come_to_an_end_holds_the_training_up(
    comfyui: ComfyUISimulator,
) -> None:
    before, prompt_id = free_requests(comfyui), render(comfyui, seconds=60)
    try:
        with pytest.raises(TransientError, match=f"{comfyui.url} still has 1 prompts after 0 s"):
            free_memory([comfyui.url], wait_seconds=0.2, report=lambda _: None)
        assert free_requests(comfyui) == before
    finally:
        with ComfyUIClient(comfyui.url) as client:
            client.cancel(prompt_id)


def test_a_server_that_is_away_is_left_out(comfyui: ComfyUISimulator) -> None:
    lines, before = Lines(), free_requests(comfyui)
    away = f"http://127.0.0.1:{free_port()}"
    free_memory([away, comfyui.url], wait_seconds=20, report=lines.append)
    assert lines.about(f"{away} does not answer")
    assert free_requests(comfyui) == before + 1
