"""What the simulated ComfyUI answers from its cache, and how it names files."""

import pytest
from PIL import Image

from influencerai_dagster_tests.testing.comfyui_prompts import (
    Prompt,
    assert_like_recorded,
    colour,
    recorded_history,
    run,
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


def test_only_results_of_the_last_prompt_are_kept(comfyui: ComfyUISimulator) -> None:
    expected = recording("runs/cached_back_to_first")["cached"]
    run(comfyui, colour(1193046, "probe/cached"))
    run(comfyui, colour(1193046, "probe/cached_other"))
    entry = run(comfyui, colour(1193046, "probe/cached"))
    messages = entry["status"]["messages"]
    assert [data["nodes"] for kind, data in messages if kind == "execution_cached"] == expected
    assert entry["outputs"]["2"]["images"][0]["filename"] == "cached_00002_.png"


def test_files_of_another_prefix_do_not_count(comfyui: ComfyUISimulator) -> None:
    for name in ("pics_00007_.png", "picX00009_.png", "pic_old.png"):
        (comfyui.output_dir / name).touch()
    images = run(comfyui, colour(3, "pic"))["outputs"]["2"]["images"]
    assert images[0]["filename"] == "pic_00001_.png"
