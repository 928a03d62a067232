"""The same behaviour on the simulator and, where COMFYUI_URL is set, on a real ComfyUI."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from influencerai_dagster.core.sampling import UpscaleSampling, VideoSampling
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.templates import (
    fill_upscale_workflow,
    fill_video_workflow,
    shipped_template,
    shipped_template_names,
)
from influencerai_dagster.engines.comfyui.validation import validate_workflow
from influencerai_dagster.engines.comfyui.values import OutputFile, RenderProgress, RunStatus
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.testing.comfyui_workflows import (
    new_id,
    open_image,
    plain_workflow,
    png,
    run_alone,
    sampled_workflow,
)
from influencerai_dagster_tests.testing.waiting import wait_until

# Two sampler steps on a CPU take a real ComfyUI up to half a minute.
pytestmark = pytest.mark.timeout(900)
TIMEOUT_SECONDS = 600.0


def _wait_until_idle(client: ComfyUIClient, prompt_id: str) -> None:
    def has_left() -> bool:
        queue = client.queue()
        return not (queue.is_running(prompt_id) or queue.is_pending(prompt_id))

    wait_until(has_left, f"{prompt_id} has left the queue", timeout_seconds=120)


def test_a_server_tells_version_and_devices(any_client: ComfyUIClient) -> None:
    stats = any_client.system_stats()
    assert stats.comfyui_version
    assert stats.devices
    assert stats.vram_free_bytes > 0


@pytest.mark.parametrize("name", shipped_template_names())
def test_a_server_has_every_node_of_the_shipped_templates(
    any_client: ComfyUIClient, name: str
) -> None:
    info = any_client.object_info()
    used = {node["class_type"] for node in shipped_template(name).nodes.values()}
    assert used <= info.node_classes.keys()
    for node in shipped_template(name).nodes.values():
        node_class = info.node_classes[node["class_type"]]
        assert node_class.required.keys() == node["inputs"].keys()


def test_the_sd15_template_validates_and_renders_a_png_of_the_size_asked_for(
    any_client: ComfyUIClient,
) -> None:
    prompt_id, events = new_id(), list[RenderProgress]()
    workflow = sampled_workflow(any_client, prompt_id, steps=2)
    validate_workflow(workflow, any_client.object_info())
    result = run_alone(
        any_client,
        workflow,
        prompt_id=prompt_id,
        timeout_seconds=TIMEOUT_SECONDS,
        on_progress=events.append,
    )
    (file,) = result.files
    assert open_image(file.content).size == (64, 64)
    assert file.file_name.startswith(prompt_id)
    assert not result.was_found
    assert result.seconds > 0
    steps = [item.fraction for item in events if item.node_class == "KSampler"]
    assert {0.5, 1.0} <= set(steps)
    assert steps == sorted(steps)
    assert {item.prompt_id for item in events} == {prompt_id}


def test_a_finished_run_is_fetched_and_not_rendered_again(any_client: ComfyUIClient) -> None:
    prompt_id = new_id()
    workflow = plain_workflow(prompt_id)
    first = run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=60)
    again = run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=60)
    assert (first.was_found, again.was_found) == (False, True)
    assert again.files == first.files


def test_threads_get_their_own_images(any_client: ComfyUIClient) -> None:
    colors = {new_id(): 0x110000 * (index + 1) for index in range(6)}

    def render(item: tuple[str, int]) -> tuple[int, int]:
        prompt_id, color = item
        result = run_alone(
            any_client,
            plain_workflow(prompt_id, color=color),
            prompt_id=prompt_id,
            timeout_seconds=60,
        )
        pixel = open_image(result.files[0].content).convert("RGB").getpixel((2, 2))
        assert isinstance(pixel, tuple)
        return color >> 16, int(pixel[0])

    with ThreadPoolExecutor(6) as pool:
        pixels = list(pool.map(render, colors.items()))
    # A simulator writes its mark into the pixels, so the colour is compared in one corner only.
    assert pixels == [(color, color) for color, _ in pixels]


def test_a_node_that_fails_is_named_with_its_cause(any_client: ComfyUIClient) -> None:
    prompt_id = new_id()
    name = any_client.upload_image(b"no image", file_name=f"{prompt_id}.png")
    workflow = plain_workflow(prompt_id)
    workflow["1"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    with pytest.raises(PermanentError, match=r"node 1 \(LoadImage\).*cannot identify image"):
        run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=60)


def test_an_upload_of_other_bytes_under_the_same_name_gets_another_name(
    any_client: ComfyUIClient,
) -> None:
    name, folder = f"{new_id()}.png", "contract/uploads"
    first = any_client.upload_image(png("red"), file_name=name, subfolder=folder)
    same = any_client.upload_image(png("red"), file_name=name, subfolder=folder)
    other = any_client.upload_image(png("blue"), file_name=name, subfolder=folder)
    assert first == same == f"{folder}/{name}"
    assert other != first
    prompt_id = new_id()
    workflow = plain_workflow(prompt_id)
    workflow["1"] = {"class_type": "LoadImage", "inputs": {"image": other}}
    validate_workflow(workflow, any_client.object_info())
    result = run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=60)
    pixel = open_image(result.files[0].content).convert("RGB").getpixel((2, 2))
    assert pixel == (0, 0, 255)


def test_what_a_progress_callback_raises_stops_this_run_and_no_other(
    any_client: ComfyUIClient,
) -> None:
    mine, other = new_id(), new_id()
    any_client.submit(
        sampled_workflow(any_client, mine, steps=2), prompt_id=other, client_id=new_id()
    )

    def stop(progress: RenderProgress) -> None:
        if progress.node_class == "KSampler" and progress.value >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_alone(
            any_client,
            sampled_workflow(any_client, mine, steps=200),
            prompt_id=mine,
            timeout_seconds=TIMEOUT_SECONDS,
            on_progress=stop,
        )
    _wait_until_idle(any_client, mine)
    entry, untouched = any_client.history(mine), any_client.history(other)
    assert entry is not None
    assert entry.status is RunStatus.INTERRUPTED
    assert untouched is not None
    assert untouched.status is RunStatus.SUCCESS


def test_an_interrupted_run_is_transient_and_runs_when_it_is_asked_for_again(
    any_client: ComfyUIClient,
) -> None:
    prompt_id = new_id()

    def interrupt(progress: RenderProgress) -> None:
        if progress.node_class == "KSampler":
            any_client.cancel(prompt_id)

    with pytest.raises(TransientError, match="was interrupted"):
        run_alone(
            any_client,
            sampled_workflow(any_client, prompt_id, steps=200),
            prompt_id=prompt_id,
            timeout_seconds=TIMEOUT_SECONDS,
            on_progress=interrupt,
        )
    result = run_alone(
        any_client,
        plain_workflow(prompt_id),
        prompt_id=prompt_id,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    assert not result.was_found
    assert len(result.files) == 1


def test_the_time_limit_takes_the_prompt_off_the_server(any_client: ComfyUIClient) -> None:
    prompt_id = new_id()
    workflow = sampled_workflow(any_client, prompt_id, steps=200)
    with pytest.raises(TransientError, match="time limit"):
        run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=0.3)
    _wait_until_idle(any_client, prompt_id)


def test_a_deleted_prompt_leaves_no_trace(any_client: ComfyUIClient) -> None:
    running, pending = new_id(), new_id()
    workflow = sampled_workflow(any_client, running, steps=200)
    any_client.submit(workflow, prompt_id=running, client_id=new_id())
    any_client.submit(plain_workflow(pending), prompt_id=pending, client_id=new_id())
    any_client.delete_pending(pending)
    any_client.cancel(running)
    _wait_until_idle(any_client, running)
    assert any_client.history(pending) is None
    assert not any_client.queue().is_pending(pending)


def test_a_file_that_is_gone_is_transient(any_client: ComfyUIClient) -> None:
    with pytest.raises(TransientError, match="does not have it"):
        any_client.view(OutputFile("no_00001_.png", "contract"))


def test_a_partly_accepted_workflow_does_not_count_as_done(any_client: ComfyUIClient) -> None:
    prompt_id = new_id()
    workflow = plain_workflow(prompt_id)
    workflow["3"] = {"class_type": "LoadImage", "inputs": {"image": f"{prompt_id}-missing.png"}}
    inputs = {"images": ["3", 0], "filename_prefix": "contract/missing"}
    workflow["4"] = {"class_type": "SaveImage", "inputs": inputs}
    with pytest.raises(PermanentError, match=r"in part.*LoadImage.*missing\.png"):
        run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=60)


def _set(node_id: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda workflow: workflow[node_id]["inputs"].update({name: value})


_BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unknown class": lambda workflow: workflow["6"].update(class_type="NoSuchNode"),
    "missing input": lambda workflow: workflow["5"]["inputs"].pop("seed"),
    "no output": lambda workflow: workflow.pop("7"),
    "too many steps": _set("5", "steps", 10_001),
    "negative cfg": _set("5", "cfg", -1.0),
    "unknown sampler": _set("5", "sampler_name", "nope"),
    "unknown checkpoint": _set("1", "ckpt_name", "nope.safetensors"),
    "link to a missing node": _set("5", "model", ["99", 0]),
    "link to a missing slot": _set("5", "model", ["1", 9]),
    "link of another type": _set("5", "model", ["1", 2]),
    "not a number": _set("5", "steps", "many"),
    "cycle": _set("5", "latent_image", ["5", 0]),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_what_validation_refuses_the_server_refuses_too(
    any_client: ComfyUIClient, name: str
) -> None:
    prompt_id = new_id()
    workflow = sampled_workflow(any_client, prompt_id, steps=2)
    _BROKEN[name](workflow)
    with pytest.raises(PermanentError):
        validate_workflow(workflow, any_client.object_info())
    with pytest.raises(PermanentError, match="refused workflow"):
        any_client.submit(workflow, prompt_id=prompt_id, client_id=new_id())


def test_memory_can_be_freed(any_client: ComfyUIClient) -> None:
    any_client.free_memory()
    prompt_id = new_id()
    run_alone(any_client, plain_workflow(prompt_id), prompt_id=prompt_id, timeout_seconds=60)


def test_an_upscale_comes_back_larger_where_an_upscale_model_is(any_client: ComfyUIClient) -> None:
    names = any_client.models("upscale_models")
    if not names:
        pytest.skip("the server has no upscale model")
    prompt_id = new_id()
    image_name = any_client.upload_image(png("green"), file_name=f"{prompt_id}.png")
    workflow = fill_upscale_workflow(
        shipped_template("upscale_image"),
        UpscaleSampling(upscale_model=names[0], source_width_px=64, source_height_px=64),
        image_name=image_name,
        filename_prefix=f"contract/{prompt_id}",
    )
    validate_workflow(workflow, any_client.object_info())
    result = run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=TIMEOUT_SECONDS)
    (width_px, height_px), *others = [open_image(file.content).size for file in result.files]
    assert others == []
    assert width_px == height_px > 64


def test_a_video_comes_back_as_its_frames_where_an_svd_checkpoint_is(
    any_client: ComfyUIClient,
) -> None:
    names = [name for name in any_client.models("checkpoints") if "svd" in name]
    if not names:
        pytest.skip("the server has no svd checkpoint")
    prompt_id = new_id()
    image_name = any_client.upload_image(png("green"), file_name=f"{prompt_id}.png")
    workflow = fill_video_workflow(
        shipped_template("svd_image_to_video"),
        VideoSampling(
            seed=1, steps=1, width_px=64, height_px=64, num_frames=3, base_model=names[0]
        ),
        image_name=image_name,
        filename_prefix=f"contract/{prompt_id}",
    )
    validate_workflow(workflow, any_client.object_info())
    result = run_alone(any_client, workflow, prompt_id=prompt_id, timeout_seconds=TIMEOUT_SECONDS)
    assert [open_image(file.content).size for file in result.files] == [(64, 64)] * 3
    assert [file.file_name for file in result.files] == sorted(
        file.file_name for file in result.files
    )
