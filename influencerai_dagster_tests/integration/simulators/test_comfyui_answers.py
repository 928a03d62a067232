"""The simulated ComfyUI answers HTTP requests as the real one was recorded to answer."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from influencerai_dagster_tests.testing.comfyui_recordings import recording, recording_names
from influencerai_dagster_tests.testing.comfyui_replay import (
    comparable,
    send,
    shape,
    start_as_recorded,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator

_UPLOADS_IN_ORDER = (
    "new",
    "same_bytes_again",
    "other_bytes_no_overwrite",
    "other_bytes_overwrite_false",
    "overwrite_true",
    "overwrite_True_capital",
)


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    server = start_as_recorded(tmp_path_factory.mktemp("comfyui"))
    folder = server.output_dir / "probe"
    folder.mkdir()
    (server.input_dir / "sub" / "dir").mkdir(parents=True)  # recorded after an upload to it
    Image.new("RGB", (64, 64), (0, 90, 200)).save(folder / "view_00001_.png")
    (folder / "view_vid_00001_.mp4").write_bytes(b"\0\0\0 ftypisom" + bytes(3000))
    yield server
    server.stop()


@pytest.mark.parametrize("name", recording_names("prompt_fail/*"))
def test_a_prompt_is_answered_as_recorded(comfyui: ComfyUISimulator, name: str) -> None:
    recorded = recording(name)
    answer = send(comfyui, recorded["request"])
    response = recorded["response"]
    assert answer.status_code == response["status"], answer.text
    assert answer.headers["content-type"] == response["headers"]["content-type"]
    if "body_text" in response:
        assert answer.text == response["body_text"]
        return
    body, expected = comparable(answer.json()), comparable(response["body"])
    if answer.status_code == 200:
        assert shape(body.pop("number")) == shape(expected.pop("number"))
    assert body == expected


_NEEDS_A_RUN = (
    "history_list",
    "history_offset",
    "history_pending",
    "history_while",
    "queue_running",
    "queue_after",
    "prompt_get_running",
)
_SHAPE_ONLY = ("system_stats", "internal_folder_paths", "internal_files_output")
_ANSWERED_ALIKE = [
    name
    for name in recording_names("http/*")
    if not name.removeprefix("http/").startswith(_NEEDS_A_RUN + _SHAPE_ONLY)
]


@pytest.mark.parametrize("name", _ANSWERED_ALIKE)
def test_a_request_is_answered_as_recorded(comfyui: ComfyUISimulator, name: str) -> None:
    recorded = recording(name)
    answer = send(comfyui, recorded["request"])
    response = recorded["response"]
    assert answer.status_code == response["status"]
    assert answer.headers.get("content-type") == response["headers"].get("content-type")
    if "body_text" in response:
        assert answer.text == response["body_text"]
    elif response["body"] is None:
        assert answer.content == b""
    else:
        assert comparable(answer.json()) == comparable(response["body"])


@pytest.mark.parametrize("name", _SHAPE_ONLY)
def test_an_answer_about_the_machine_has_the_recorded_shape(
    comfyui: ComfyUISimulator, name: str
) -> None:
    (comfyui.output_dir / "_output_images_will_be_put_here").touch()
    recorded = recording(f"http/{name}")
    body = send(comfyui, recorded["request"]).json()
    expected = recorded["response"]["body"]
    if name == "internal_folder_paths":
        expected.pop("configs")
    assert shape(body) == shape(expected)


def test_the_version_says_that_it_is_simulated(comfyui: ComfyUISimulator) -> None:
    body = comfyui.http.get("/system_stats").json()
    assert body["system"]["comfyui_version"] == "0.3.64-simulated"


def test_object_info_of_all_nodes_holds_each_node(comfyui: ComfyUISimulator) -> None:
    everything = comfyui.http.get("/object_info").json()
    for name in ("KSampler", "SaveVideo", "SVD_img2vid_Conditioning"):
        assert comfyui.http.get(f"/object_info/{name}").json() == {name: everything[name]}


@pytest.mark.parametrize("name", recording_names("view/*"))
def test_a_view_is_answered_as_recorded(comfyui: ComfyUISimulator, name: str) -> None:
    recorded = recording(name)
    request = recorded["request"]
    if "If-None-Match" in request.get("headers", {}):
        fresh = httpx.get(f"{comfyui.url}{request['path']}")
        request["headers"]["If-None-Match"] = fresh.headers["etag"]
    answer = send(comfyui, request)
    response = recorded["response"]
    assert answer.status_code == response["status"]
    expected = {key for key in response["headers"] if key not in {"content-length", "server"}}
    assert expected <= set(answer.headers)
    if "content-type" in response["headers"]:
        assert answer.headers["content-type"] == response["headers"]["content-type"]
    if name == "view/png_range":
        assert answer.content.hex() == response["body_first_16_hex"]
    if not response.get("body_bytes"):
        assert answer.content == (response.get("body_text") or "").encode()


def test_uploads_are_renamed_as_recorded(tmp_path: Path) -> None:
    server = start_as_recorded(tmp_path)
    try:
        for name in _UPLOADS_IN_ORDER:
            recorded = recording(f"upload/{name}")
            answer = send(server, recorded["request"])
            assert (name, answer.json()) == (name, recorded["response"]["body"])
        assert (server.input_dir / "pic.png").read_bytes()[:3] == b"95 "
    finally:
        server.stop()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in recording_names("upload/*")
        if name.removeprefix("upload/") not in _UPLOADS_IN_ORDER
    ],
)
def test_an_upload_is_answered_as_recorded(comfyui: ComfyUISimulator, name: str) -> None:
    before = {path for path in comfyui.root.rglob("*") if path.is_file()}
    recorded = recording(name)
    answer = send(comfyui, recorded["request"])
    response = recorded["response"]
    assert answer.status_code == response["status"]
    if response.get("body") is not None:
        assert answer.json() == response["body"]
    else:
        assert answer.text == response.get("body_text", "")
        assert {path for path in comfyui.root.rglob("*") if path.is_file()} == before


def test_an_upload_above_the_limit_is_refused_as_recorded(comfyui: ComfyUISimulator) -> None:
    response = recording("sizes/upload_101MiB")["response"]
    files = {"image": ("big.png", bytes(101 * 1024 * 1024))}
    answer = comfyui.http.post("/upload/image", files=files, timeout=60)
    assert (answer.status_code, answer.text) == (response["status"], response["body_text"])


@pytest.mark.parametrize("name", recording_names("prompt_ids/*"))
def test_any_prompt_id_is_taken_as_recorded(comfyui: ComfyUISimulator, name: str) -> None:
    recorded = recording(name)
    sent = "a" * 300 if str(recorded["sent"]).endswith("(300)") else recorded["sent"]
    prompt = {
        "1": {"class_type": "EmptyImage",
              "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 3}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    answer = comfyui.http.post("/prompt", json={"prompt": prompt, "prompt_id": sent})
    assert answer.json()["prompt_id"] == recorded["body"]["prompt_id"]


def test_a_new_lora_file_appears_without_restart(comfyui: ComfyUISimulator) -> None:
    path = comfyui.models_dir / "loras" / "demo" / "lora1.safetensors"
    path.parent.mkdir()
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    try:
        names = comfyui.http.get("/models/loras").json()
        info = comfyui.http.get("/object_info/LoraLoader").json()
        assert "demo/lora1.safetensors" in names
        assert info["LoraLoader"]["input"]["required"]["lora_name"][0] == names
    finally:
        path.unlink()
