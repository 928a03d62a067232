"""Runs of the simulated ComfyUI: messages, history, cache and files are those recorded."""

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from influencerai_dagster_tests.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.engines.comfyui.recordings import recording
from influencerai_dagster_tests.local.simulators.comfyui_replay import (
    finished,
    listening,
    outline,
    post,
    receive,
    receive_until_end,
    recorded_messages,
    shape,
    start_as_recorded,
)

Prompt = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    started = start_as_recorded(tmp_path_factory.mktemp("comfyui"))
    yield started
    started.stop()


@pytest.fixture
def comfyui(server: ComfyUISimulator) -> ComfyUISimulator:
    """One server for all tests, with nothing cached and no outputs at the start of each."""
    server.http.post("/free", json={"free_memory": True})
    for entry in server.output_dir.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return server


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


def test_a_run_sends_the_recorded_messages_with_plain_previews(comfyui: ComfyUISimulator) -> None:
    request = recording("runs/success_legacy_preview_post")["request"]["json"]
    recorded = recording("runs/success_legacy_preview_ws")
    with listening(comfyui, request["client_id"]) as socket:
        answer = comfyui.http.post("/prompt", json=request)
        messages = receive_until_end(socket)
    assert answer.json()["prompt_id"] == request["prompt_id"]
    assert outline(messages) == outline(recorded_messages(recorded))
    entry = finished(comfyui, request["prompt_id"])
    assert_like_recorded(entry, recorded_history("success_legacy_preview"))
    assert entry["prompt"][3] == recorded_history("success_legacy_preview")["prompt"][3]


def test_previews_carry_metadata_for_a_client_that_announced_it(comfyui: ComfyUISimulator) -> None:
    run(comfyui, text_to_image())  # models and texts are cached from here on, as recorded
    request = recording("runs/success_metadata_preview_post")["request"]["json"]
    recorded = recording("runs/success_metadata_preview_ws")
    flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    with listening(comfyui, request["client_id"]) as socket:
        socket.send(json.dumps(flags))
        greeting = [receive(socket), receive(socket)]
        comfyui.http.post("/prompt", json=request)
        messages = greeting + receive_until_end(socket)
    assert outline(messages) == outline(recorded_messages(recorded))
    frames = [m for m in messages if m["type"] == "PREVIEW_IMAGE_WITH_METADATA"]
    assert frames[0]["data"]["prompt_id"] == request["prompt_id"]
    assert Image.open(BytesIO(frames[0]["image"])).format == "JPEG"


def test_a_prompt_without_client_id_tells_progress_to_every_socket(
    comfyui: ComfyUISimulator,
) -> None:
    run(comfyui, text_to_image())
    recorded = recording("runs/no_client_id_ws_of_bystander")
    expected = recorded_messages(recorded)
    with listening(comfyui, "watcher") as socket:
        post(comfyui, text_to_image(seed=77))
        messages = [receive(socket) for _ in expected]
    assert outline(messages) == outline(expected)


def test_a_prompt_of_another_client_shows_only_the_queue(comfyui: ComfyUISimulator) -> None:
    expected = recorded_messages(recording("runs/other_client_id_ws_of_bystander"))
    with listening(comfyui, "watcher2") as socket:
        post(comfyui, colour(4), client_id="somebody else")
        messages = [receive(socket) for _ in expected]
    assert outline(messages) == outline(expected)


def test_an_identical_prompt_is_answered_from_cache_with_the_old_file(
    comfyui: ComfyUISimulator,
) -> None:
    prompt = colour(1193046, "probe/cached")
    first = run(comfyui, prompt, client_id="a")
    assert_like_recorded(first, recorded_history("cached_first"))
    with listening(comfyui, "a") as socket:
        receive(socket)
        prompt_id = post(comfyui, prompt, client_id="a")
        messages = receive_until_end(socket)
    assert outline(messages) == outline(recorded_messages(recording("runs/cached_second_ws")))
    second = finished(comfyui, prompt_id)
    assert_like_recorded(second, recorded_history("cached_second"))
    assert second["outputs"] == first["outputs"]
    assert len(list(comfyui.output_dir.rglob("*.png"))) == 1


def test_a_cached_result_survives_the_loss_of_its_file(comfyui: ComfyUISimulator) -> None:
    run(comfyui, colour(9))
    (comfyui.output_dir / "probe" / "color_00001_.png").unlink()
    again = run(comfyui, colour(9))
    (image,) = again["outputs"]["2"]["images"]
    assert again["status"]["status_str"] == "success"
    assert comfyui.http.get("/view", params=image).status_code == 404


@pytest.mark.parametrize("name", ["cached_other_node_ids", "cached_only_prefix_changed"])
def test_the_cache_looks_at_content_and_not_at_node_ids(
    comfyui: ComfyUISimulator, name: str
) -> None:
    recorded = recording(f"runs/{name}")
    run(comfyui, colour(1193046, "probe/cached"))
    prefix = "probe/cached_other" if name == "cached_only_prefix_changed" else "probe/cached"
    plain = colour(1193046, prefix)
    renamed = {"a": plain["1"], "b": plain["2"]}
    renamed["b"]["inputs"]["images"] = ["a", 0]
    with listening(comfyui, "a") as socket:
        receive(socket)
        prompt_id = post(comfyui, renamed, client_id="a")
        messages = receive_until_end(socket)
    assert outline(messages) == outline(recorded_messages(recorded))
    assert finished(comfyui, prompt_id)["outputs"] == recorded["outputs"]


def test_the_name_of_a_deleted_file_is_used_again(comfyui: ComfyUISimulator) -> None:
    recorded = recording("runs/number_reused")
    first = run(comfyui, colour(1, "reuse"))["outputs"]["2"]["images"][0]["filename"]
    (comfyui.output_dir / first).unlink()
    second = run(comfyui, colour(2, "reuse"))["outputs"]["2"]["images"][0]["filename"]
    assert (first, second) == (recorded["first"], recorded["second"])


def test_load_image_is_cached_by_the_content_of_its_file(comfyui: ComfyUISimulator) -> None:
    prompt: Prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "reload.png"}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "probe/reload"},
        },
    }
    for expected, tone in zip(
        recording("runs/loadimage_overwritten_file")["runs"], ("red", "red", "blue"), strict=True
    ):
        Image.new("RGB", (8, 8), tone).save(comfyui.input_dir / "reload.png")
        entry = run(comfyui, prompt)
        cached = [data["nodes"] for kind, data in entry["status"]["messages"]
                  if kind == "execution_cached"]  # fmt: skip
        assert (cached, entry["outputs"]) == (expected["cached"], expected["outputs"])


@pytest.mark.parametrize(
    "name",
    [
        "error_corrupt_checkpoint",
        "error_prefix_outside_output",
        "error_after_partial_output",
        "error_loadimage_not_an_image",
    ],
)
def test_a_failing_node_ends_its_run_as_recorded(comfyui: ComfyUISimulator, name: str) -> None:
    (comfyui.input_dir / "notimage.png").write_bytes(b"not an image")
    expected = recorded_history(name)
    with listening(comfyui, "a") as socket:
        receive(socket)
        prompt_id = post(comfyui, expected["prompt"][2], client_id="a")
        messages = receive_until_end(socket)
    entry = finished(comfyui, prompt_id)
    assert_like_recorded(entry, expected)
    error, recorded_error = (
        entry["status"]["messages"][-1][1],
        expected["status"]["messages"][-1][1],
    )
    for key in ("node_id", "node_type", "exception_type"):
        assert error[key] == recorded_error[key]
    assert error["exception_message"].endswith("\n")
    assert error["exception_message"][:20] == recorded_error["exception_message"][:20]
    recorded = recorded_messages(recording(f"runs/{name}_ws"))
    starts = [index for index, message in enumerate(recorded) if message["type"] == "status"]
    if name == "error_loadimage_not_an_image":  # the recording begins with another prompt
        recorded = recorded[starts[3] :]
    assert outline(messages) == outline(recorded)


def test_a_lora_of_another_family_changes_nothing_and_succeeds(comfyui: ComfyUISimulator) -> None:
    expected = recorded_history("lora_wrong_shape_is_success")
    wrong = expected["prompt"][2]
    assert_like_recorded(run(comfyui, wrong, client_id="a"), expected)
    without = json.loads(json.dumps(wrong))
    without["2"]["inputs"] |= {"strength_model": 0, "strength_clip": 0}
    run(comfyui, without)
    first, second = sorted((comfyui.output_dir / "probe").iterdir())
    assert Image.open(first).tobytes() == Image.open(second).tobytes()


def test_a_dropped_output_is_told_in_the_answer_only(comfyui: ComfyUISimulator) -> None:
    expected = recording("runs/partly_invalid_history")
    assert_like_recorded(run(comfyui, expected["prompt"][2]), expected)


def test_values_are_coerced_as_recorded(comfyui: ComfyUISimulator) -> None:
    recorded = recording("runs/value_coercion")
    entry = run(comfyui, recorded["sent"])
    assert entry["prompt"][2] == recorded["history_prompt"]
    assert entry["status"]["status_str"] == recorded["status"]


def test_secrets_that_comfyui_knows_are_kept_out_of_history(comfyui: ComfyUISimulator) -> None:
    recorded = recording("runs/extra_data_in_history")
    extra_data = dict.fromkeys(recorded["sent"], "kept")
    assert (
        run(comfyui, colour(5), extra_data=extra_data)["prompt"][3] == recorded["history_prompt_3"]
    )


@pytest.mark.parametrize("kind", ["codec", "format"])
def test_a_wrong_choice_of_the_second_schema_fails_in_execution(
    comfyui: ComfyUISimulator, kind: str
) -> None:
    request = recording(f"prompt_fail/v3_combo_{kind}_not_in_list")["request"]["json"]
    expected = recording(f"runs/v3_combo_{kind}_not_in_list_history")
    entry = run(comfyui, request["prompt"])
    last, data = entry["status"]["messages"][-1]
    assert (last, entry["outputs"]) == (expected["last_message"], expected["outputs"])
    assert data["exception_type"] == expected["exception_type"]
    assert data["exception_message"] == expected["exception_message"]


def test_a_saved_video_is_reported_under_images(comfyui: ComfyUISimulator) -> None:
    expected = recording("runs/savevideo_history")
    entry = run(comfyui, expected["prompt"][2])
    assert_like_recorded(entry, expected)
    assert entry["outputs"] == expected["outputs"]
    content = comfyui.http.get("/view", params=entry["outputs"]["5"]["images"][0]).content
    assert content[4:8] == b"ftyp"


def test_a_preview_image_goes_to_the_temp_folder(comfyui: ComfyUISimulator) -> None:
    (comfyui.input_dir / "sub" / "dir").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(comfyui.input_dir / "sub" / "dir" / "pic.png")
    expected = recording("runs/loadimage_subfolder_previewimage_history")
    entry = run(comfyui, expected["prompt"][2])
    assert_like_recorded(entry, expected)
    assert entry["outputs"]["2"]["images"][0]["type"] == "temp"


def test_a_saved_png_carries_its_workflow(comfyui: ComfyUISimulator) -> None:
    extra_data = {"extra_pnginfo": {"workflow": {"dagster_run_id": "r-1"}}}
    run(comfyui, text_to_image(), extra_data=extra_data)
    with Image.open(comfyui.output_dir / "probe" / "t2i_00001_.png") as image:
        assert json.loads(image.info["prompt"]) == text_to_image()
        assert json.loads(image.info["workflow"]) == {"dagster_run_id": "r-1"}
