"""Runs of the simulated ComfyUI: messages, history, cache and files are those recorded."""

import json
from io import BytesIO

import pytest
from PIL import Image

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster_tests.testing.comfyui_prompts import (
    assert_like_recorded,
    colour,
    recorded_history,
    run,
    text_to_image,
)
from influencerai_dagster_tests.testing.comfyui_recordings import recording
from influencerai_dagster_tests.testing.comfyui_replay import (
    finished,
    listening,
    outline,
    post,
    receive,
    receive_until_end,
    recorded_messages,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator


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


@pytest.mark.parametrize(
    ("family", "images_drawn"),
    [(BaseModelFamily.SD15, 1), (BaseModelFamily.SDXL, 2)],
    ids=["other family", "same family"],
)
def test_a_lora_takes_effect_only_on_a_model_of_its_family(
    comfyui: ComfyUISimulator, family: BaseModelFamily, images_drawn: int
) -> None:
    path = comfyui.models_dir / "checkpoints" / "any.safetensors"
    write_simulated_base_model(path, family)
    images = set()
    for strength in (0.0, 1.0):
        prompt = text_to_image()
        prompt["1"]["inputs"]["ckpt_name"] = path.name
        prompt["2"]["inputs"] |= {"lora_name": "wrong_shape.safetensors"}  # trained on SDXL
        prompt["2"]["inputs"] |= {"strength_model": strength, "strength_clip": strength}
        image = run(comfyui, prompt)["outputs"]["8"]["images"][0]
        images.add(Image.open(comfyui.output_dir / "probe" / image["filename"]).tobytes())
    assert len(images) == images_drawn


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
