"""The client against recorded answers and against servers that misbehave."""

import json
from collections.abc import Callable

import httpx
import pytest

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.http import MAX_BODY_BYTES
from influencerai_dagster.engines.comfyui.values import OutputFile, QueuedPrompt, RunStatus
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.testing.comfyui_recordings import (
    answering,
    recorded_body,
    recording,
    recording_names,
    replaying,
)

Requests = list[httpx.Request]


def _client_recording_requests(
    requests: Requests, answer: Callable[[httpx.Request], httpx.Response]
) -> ComfyUIClient:
    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer(request)

    return ComfyUIClient("http://comfyui.test:8188", transport=httpx.MockTransport(handle))


def _submit(client: ComfyUIClient) -> None:
    client.submit({"1": {"class_type": "X", "inputs": {}}}, prompt_id="p", client_id="c")


def test_recorded_system_stats_have_version_and_memory() -> None:
    with replaying("http/system_stats") as client:
        stats = client.system_stats()
    assert stats.comfyui_version == "0.3.64"
    assert not stats.is_simulated
    assert stats.vram_free_bytes == 22126587904
    assert [device.type for device in stats.devices] == ["cpu"]


def test_recorded_queue_is_sorted_by_number() -> None:
    with replaying("http/queue_running_and_pending") as client:
        queue = client.queue()
    assert queue.running == (QueuedPrompt(56, "e2bc2f86-14fb-49a8-8c98-3d097472997f"),)
    assert queue.is_pending("5bc595c0-a30d-4bea-ac98-4f0578b03301")
    assert not queue.is_pending("e2bc2f86-14fb-49a8-8c98-3d097472997f")


def test_pending_prompts_come_in_running_order_though_the_server_lists_a_heap() -> None:
    listed = recording("runs/queue_pending_not_sorted")["pending_as_listed"]
    body = {"queue_running": [], "queue_pending": [[number, f"p{number}"] for number in listed]}
    with answering(httpx.Response(200, json=body)) as client:
        numbers = [prompt.number for prompt in client.queue().pending]
    assert numbers == sorted(listed)
    assert numbers != listed


@pytest.mark.parametrize("name", recording_names("http/queue_idle"))
def test_an_idle_server_has_an_empty_queue(name: str) -> None:
    with replaying(name) as client:
        queue = client.queue()
    assert (queue.running, queue.pending) == ((), ())


@pytest.mark.parametrize(
    "name", ["http/history_unknown_id", "http/history_while_running", "http/history_pending"]
)
def test_history_has_nothing_of_a_prompt_that_did_not_end(name: str) -> None:
    with replaying(name) as client:
        assert client.history("00000000-0000-0000-0000-000000000000") is None


_EXPECTED_STATUS = {
    "interrupted": RunStatus.INTERRUPTED,
    "error_after_partial_output": RunStatus.ERROR,
    "error_corrupt_checkpoint": RunStatus.ERROR,
    "error_loadimage_not_an_image": RunStatus.ERROR,
    "error_prefix_outside_output": RunStatus.ERROR,
}


def _whole_entries() -> list[str]:
    """Return the recorded history entries; a few recordings hold only a digest of one."""
    names = recording_names("runs/*_history")
    return [name for name in names if {"response", "prompt"} & recording(name).keys()]


@pytest.mark.parametrize("name", _whole_entries())
def test_every_recorded_history_tells_success_error_and_interruption_apart(name: str) -> None:
    body = recorded_body(name)
    entries = body if "status" not in body else {body["prompt"][1]: body}
    ((prompt_id, _),) = entries.items()
    with answering(httpx.Response(200, json=entries)) as client:
        entry = client.history(prompt_id)
    assert entry is not None
    expected = _EXPECTED_STATUS.get(
        name.removeprefix("runs/").removesuffix("_history"), RunStatus.SUCCESS
    )
    assert entry.status is expected
    assert (entry.failure is None) == (expected is RunStatus.SUCCESS)
    assert bool(entry.files) == (
        expected is RunStatus.SUCCESS or "partial" in name
    )  # a failed run may have saved something
    assert entry.seconds is not None
    assert entry.seconds >= 0


def test_a_recorded_failure_has_node_exception_and_text() -> None:
    with replaying("runs/error_loadimage_not_an_image_history") as client:
        entry = client.history("15fe3d5e-7bdb-4a4f-ace9-153e5306b128")
    assert entry is not None
    assert entry.failure is not None
    assert entry.failure.node_class == "LoadImage"
    assert entry.failure.exception_type == "PIL.UnidentifiedImageError"
    assert entry.failure.message.startswith("cannot identify image file")


def test_a_video_is_found_among_the_files() -> None:
    body = recorded_body("runs/savevideo_history")
    with answering(httpx.Response(200, json={"p": body})) as client:
        entry = client.history("p")
    assert entry is not None
    assert entry.files == (OutputFile("view_vid_00001_.mp4", "probe", "output", "5"),)


def test_files_are_found_under_any_output_key() -> None:
    body = recorded_body("runs/savevideo_history")
    body["outputs"] = {
        "9": {"gifs": [{"filename": "a.gif", "subfolder": "x", "type": "output"}], "text": ["t"]}
    }
    with answering(httpx.Response(200, json={"p": body})) as client:
        entry = client.history("p")
    assert entry is not None
    assert entry.files == (OutputFile("a.gif", "x", "output", "9"),)


@pytest.mark.parametrize("name", recording_names("prompt_fail/*"))
def test_every_recorded_refusal_is_an_error_of_the_right_class(name: str) -> None:
    response = recording(name)["response"]
    body = response.get("body") or {}
    with replaying(name) as client:
        if response["status"] == 500:
            with pytest.raises(TransientError, match=r"http://comfyui\.test:8188/prompt: 500"):
                _submit(client)
        elif response["status"] == 400 or body["node_errors"]:
            with pytest.raises(PermanentError) as caught:
                _submit(client)
            assert "no reason given" not in str(caught.value)
        else:
            client.submit({}, prompt_id=body["prompt_id"], client_id="c")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "unknown_lora",
            ["node 2 (LoraLoader)", "'lora_name'", "'nope.safetensors'", "no such file"],
        ),
        ("unknown_sampler", ["KSampler", "'sampler_name'", "'nope'", "list of length 42"]),
        ("value_too_big", ["KSampler", "'steps'", "10001", "max of 10000"]),
        ("wrong_type", ["KSampler", "'steps'", "'many'", "invalid literal"]),
        ("missing_required_input", ["KSampler", "'seed'", "Required input is missing"]),
        ("wrong_link_type", ["'model'", "received_type(VAE) mismatch input_type(MODEL)"]),
        ("unknown_node_class", ["NoSuchNode does not exist", "#6"]),
        ("no_output_node", ["Prompt has no outputs"]),
        ("loadimage_missing_file", ["LoadImage", "does_not_exist.png"]),
    ],
)
def test_a_refusal_names_node_input_value_and_choices(name: str, parts: list[str]) -> None:
    with replaying(f"prompt_fail/{name}") as client, pytest.raises(PermanentError) as caught:
        _submit(client)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_long_list_of_choices_is_shortened() -> None:
    text = _refusal("CheckpointLoaderSimple", "ckpt_name", "model1.safetensor")
    assert "may be one of model0.safetensors, " in text
    assert "model4.safetensors and 10 more. Did you mean model1.safetensors?" in text


@pytest.mark.parametrize(
    ("node_class", "input_name"),
    [("LoraLoader", "lora_name"), ("LoadImage", "image"), ("VHS_LoadVideo", "video")],
)
def test_a_refusal_does_not_list_files_that_may_be_of_other_tenants(
    node_class: str, input_name: str
) -> None:
    text = _refusal(node_class, input_name, "x.safetensors")
    assert "the server has no such file" in text
    assert "model" not in text


def _refusal(node_class: str, input_name: str, value: str) -> str:
    """What a caller reads of ComfyUI's answer that a value is not among the choices."""
    config = [[f"model{number}.safetensors" for number in range(15)], {}]
    info = {"input_name": input_name, "input_config": config, "received_value": value}
    details = f"{input_name}: '{value}' not in {config[0]}"
    error = {"type": "value_not_in_list", "message": "m", "details": details, "extra_info": info}
    bare = {**error, "extra_info": {"input_name": input_name, "received_value": value}}
    node_errors = {"2": {"errors": [error, bare], "class_type": node_class}}
    body = {"error": {"type": "t", "message": "m"}, "node_errors": node_errors}
    with (
        answering(httpx.Response(400, json=body)) as client,
        pytest.raises(PermanentError) as caught,
    ):
        _submit(client)
    return str(caught.value)


def test_a_partly_accepted_workflow_is_refused_and_taken_off_the_server() -> None:
    requests: Requests = []
    partly = recorded_body("prompt_fail/partly_invalid_is_accepted")
    running = {"queue_running": [[1, partly["prompt_id"]]], "queue_pending": []}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=partly if request.url.path == "/prompt" else running)

    with (
        _client_recording_requests(requests, answer) as client,
        pytest.raises(PermanentError, match=r"in part .*LoadImage.*does_not_exist\.png"),
    ):
        client.submit({}, prompt_id=partly["prompt_id"], client_id="c")
    sent = [(item.method, item.url.path, item.content) for item in requests[1:]]
    prompt_id = partly["prompt_id"]
    assert [(method, path) for method, path, _ in sent] == [
        ("POST", "/queue"),
        ("GET", "/queue"),
        ("POST", "/interrupt"),
    ]
    assert json.loads(sent[0][2]) == {"delete": [prompt_id]}
    assert json.loads(sent[2][2]) == {"prompt_id": prompt_id}


def test_submitting_never_sends_a_number() -> None:
    requests: Requests = []
    body = {"prompt_id": "p", "number": 1, "node_errors": {}}
    with _client_recording_requests(requests, lambda _: httpx.Response(200, json=body)) as client:
        _submit(client)
    assert set(json.loads(requests[0].content)) == {"prompt", "prompt_id", "client_id"}


def test_a_server_that_ignores_the_prompt_id_is_refused() -> None:
    body = {"prompt_id": "another", "number": 1, "node_errors": {}}
    with (
        answering(httpx.Response(200, json=body)) as client,
        pytest.raises(PermanentError, match="too old"),
    ):
        _submit(client)


@pytest.mark.parametrize("method", ["delete_pending", "cancel", "history", "forget"])
def test_an_empty_prompt_id_never_reaches_the_server(method: str) -> None:
    requests: Requests = []
    with (
        _client_recording_requests(requests, lambda _: httpx.Response(200)) as client,
        pytest.raises(PermanentError, match="prompt_id is empty"),
    ):
        getattr(client, method)("")
    assert requests == []


def test_a_prompt_that_does_not_run_is_not_interrupted() -> None:
    requests: Requests = []
    body = {"queue_running": [[1, "somebody-else"]], "queue_pending": []}
    with _client_recording_requests(requests, lambda _: httpx.Response(200, json=body)) as client:
        client.cancel("mine")
    assert [(item.method, item.url.path) for item in requests] == [
        ("POST", "/queue"),
        ("GET", "/queue"),
    ]


@pytest.mark.parametrize("name", recording_names("upload/*"))
def test_every_recorded_upload_gives_a_name_or_an_error(name: str) -> None:
    response = recording(name)["response"]
    with replaying(name) as client:
        if response["status"] == 200:
            body = response["body"]
            expected = "/".join(filter(None, (body["subfolder"], body["name"])))
            assert client.upload_image(b"x", file_name="pic.png") == expected
        else:
            error = TransientError if response["status"] == 500 else PermanentError
            with pytest.raises(error):
                client.upload_image(b"x", file_name="pic.png")


@pytest.mark.parametrize("file_name", ["", "../x.png", "/etc/x.png", "a\\b.png", ".x", "a\nb.png"])
def test_a_file_name_that_leaves_the_input_folder_is_not_sent(file_name: str) -> None:
    requests: Requests = []
    with (
        _client_recording_requests(requests, lambda _: httpx.Response(200)) as client,
        pytest.raises(PermanentError, match="cannot be uploaded"),
    ):
        client.upload_image(b"x", file_name=file_name)
    assert requests == []


def test_an_image_over_100_mib_is_not_sent() -> None:
    requests: Requests = []
    with (
        _client_recording_requests(requests, lambda _: httpx.Response(200)) as client,
        pytest.raises(PermanentError, match="104857601 bytes"),
    ):
        client.upload_image(bytes(MAX_BODY_BYTES + 1), file_name="big.png")
    assert requests == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("view/missing", TransientError),
        ("view/traversal_filename", PermanentError),
        ("view/traversal_subfolder", PermanentError),
        ("view/bad_type", PermanentError),
    ],
)
def test_a_file_that_cannot_be_viewed_is_an_error(name: str, error: type[Exception]) -> None:
    with replaying(name) as client, pytest.raises(error):
        client.view(OutputFile("nope.png", "demo"))


def test_a_missing_file_says_that_a_new_prefix_renders_anew() -> None:
    with (
        replaying("view/missing") as client,
        pytest.raises(TransientError, match=r"'demo/nope\.png'.*another filename_prefix"),
    ):
        client.view(OutputFile("nope.png", "demo"))


def test_recorded_models_are_names_below_their_folder() -> None:
    with replaying("http/models_loras") as client:
        assert "sub/random_nested.safetensors" in client.models("loras")


def test_an_unknown_models_folder_is_a_permanent_error() -> None:
    with replaying("http/models_unknown_folder") as client, pytest.raises(PermanentError):
        client.models("nonsense")


def test_both_schema_styles_give_choices() -> None:
    with replaying("http/object_info_SaveVideo") as client:
        assert client.object_info().choices("SaveVideo", "codec") == ("auto", "h264")
    with replaying("http/object_info_LoraLoader") as client:
        assert "wrong_shape.safetensors" in client.object_info().choices("LoraLoader", "lora_name")


def test_recorded_node_classes_have_inputs_ranges_and_outputs() -> None:
    with replaying("http/object_info_KSampler") as client:
        sampler = client.object_info().node_classes["KSampler"]
    assert sampler.output_types == ("LATENT",)
    assert not sampler.is_output_node
    assert sampler.required["steps"].maximum == 10000
    assert sampler.required["seed"].maximum == 2**64 - 1
    with replaying("http/object_info_SaveImage") as client:
        assert client.object_info().node_classes["SaveImage"].is_output_node


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(httpx.Response(200, text="<html>starting</html>"), id="a page"),
        pytest.param(httpx.Response(200, json={"queue_running": 1}), id="other JSON"),
        pytest.param(
            httpx.Response(200, json={"queue_running": [], "queue_pending": [[1]]}), id="short item"
        ),
        pytest.param(httpx.Response(502, text="bad gateway"), id="502"),
        pytest.param(httpx.Response(429, text="slow down"), id="429"),
    ],
)
def test_an_answer_that_may_be_better_later_is_transient_and_names_the_url(
    response: httpx.Response,
) -> None:
    with (
        answering(response) as client,
        pytest.raises(TransientError, match=r"http://comfyui\.test:8188/queue"),
    ):
        client.queue()


def test_a_server_that_is_away_is_transient_and_names_the_url(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with ComfyUIClient(url) as client, pytest.raises(TransientError, match=f"{url}/system_stats"):
        client.system_stats()


def test_a_time_limit_is_transient() -> None:
    def hang(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    client = ComfyUIClient("http://comfyui.test", transport=httpx.MockTransport(hang))
    with client, pytest.raises(TransientError, match="no answer in time"):
        client.queue()


@pytest.mark.parametrize("url", ["ftp://host", "host:8188", "", "http://", "http://h:port"])
def test_a_url_that_is_none_is_a_permanent_error(url: str) -> None:
    with pytest.raises(PermanentError, match="URL"):
        ComfyUIClient(url)


def test_credentials_in_the_url_are_sent_and_never_shown() -> None:
    requests: Requests = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(503)

    client = ComfyUIClient(
        "https://me:s3cret@comfyui.test/gpu1/", transport=httpx.MockTransport(handle)
    )
    with client, pytest.raises(TransientError) as caught:
        client.queue()
    assert str(requests[0].url) == "https://comfyui.test/gpu1/queue"
    assert requests[0].headers["Authorization"].startswith("Basic ")
    assert "s3cret" not in str(caught.value)
    url, headers = client.connection.websocket_address("abc")
    assert url == "wss://comfyui.test/gpu1/ws?clientId=abc"
    assert headers["Authorization"] == requests[0].headers["Authorization"]


@pytest.mark.parametrize("cut", [httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError])
def test_a_question_whose_connection_is_cut_is_asked_once_more(cut: type[httpx.HTTPError]) -> None:
    requests: Requests = []

    def answer(_: httpx.Request) -> httpx.Response:
        if len(requests) == 1:
            raise cut("[Errno 9] Bad file descriptor")
        return httpx.Response(200, json={"queue_running": [], "queue_pending": []})

    with _client_recording_requests(requests, answer) as client:
        assert client.queue().running == ()
    assert [request.method for request in requests] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("ask", "num_requests"),
    [(ComfyUIClient.queue, 2), (_submit, 1)],
    ids=["a question, asked twice", "a prompt, sent once"],
)
def test_what_is_cut_fails_in_passing_and_no_prompt_is_sent_again(
    ask: Callable[[ComfyUIClient], object], num_requests: int
) -> None:
    requests: Requests = []

    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("[Errno 9] Bad file descriptor")

    with (
        _client_recording_requests(requests, answer) as client,
        pytest.raises(TransientError, match="Bad file descriptor"),
    ):
        ask(client)
    assert len(requests) == num_requests
