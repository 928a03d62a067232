"""Send recorded requests to the simulator and compare its answers with the recorded ones.

Names of models and files are those of the recordings, so that even error texts come out equal; only
ids, times, prose of our own and tracebacks are compared by their type.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from influencerai_dagster_tests.testing.comfyui_server import (
    ComfyUISimulator,
    start_comfyui_simulator,
)
from influencerai_dagster_tests.testing.waiting import wait_until

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
_PROSE = {"tooltip", "description", "traceback", "current_outputs", "executed", "timestamp"}
_OUTPUT_TOOLTIPS = "output_tooltips"


def write_safetensors(path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file without tensors."""
    header = json.dumps({"__metadata__": metadata}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def start_as_recorded(root: Path, **options: Any) -> ComfyUISimulator:
    """Start a simulator with the models and inputs that the recorded server had."""
    models = root / "models"
    write_safetensors(models / "checkpoints" / "random_sd15.safetensors", {})
    corrupt = models / "checkpoints" / "corrupt.safetensors"
    corrupt.write_bytes((5).to_bytes(8, "little") + b"{nope")
    metadata = {
        "ss_network_dim": "4",
        "ss_base_model_version": "sd_v1-5",
        "ss_output_name": "random_style",
    }
    loras = models / "loras"
    write_safetensors(loras / "random_style.safetensors", metadata)
    write_safetensors(loras / "sub" / "random_nested.safetensors", metadata)
    write_safetensors(
        loras / "wrong_shape.safetensors", {"ss_base_model_version": "sdxl_base_v1-0"}
    )
    (root / "input").mkdir(parents=True)
    Image.new("RGB", (32, 48), (200, 30, 30)).save(root / "input" / "example.png")
    return start_comfyui_simulator(root, placeholders=(), **{"seconds_per_step": 0, **options})


def send(server: ComfyUISimulator, request: dict[str, Any]) -> httpx.Response:
    """Send one recorded request."""
    if "multipart" in request:
        return _send_upload(server, request["path"], request["multipart"])
    content = {"content": request["body_text"]} if "body_text" in request else {}
    return server.http.request(
        request["method"],
        request["path"],
        json=request.get("json"),
        headers=request.get("headers"),
        **content,
    )


def _send_upload(server: ComfyUISimulator, path: str, form: dict[str, Any]) -> httpx.Response:
    content = (f"{form['bytes']} " * form["bytes"])[: form["bytes"]].encode()
    files = {form["file_field"]: (form["filename"], content)}
    about_file = {"file_field", "filename", "bytes"}
    data = {key: value for key, value in form.items() if key not in about_file}
    return server.http.post(path, files=files, data=data)


def comparable(value: Any) -> Any:
    """Keep structure and texts; replace what differs from run to run by its type."""
    if isinstance(value, dict):
        return {
            key: _kind(entry) if key in _PROSE else comparable(entry)
            for key, entry in value.items()
            if key != _OUTPUT_TOOLTIPS
        }
    if isinstance(value, (list, tuple)):
        return [comparable(entry) for entry in value]
    if isinstance(value, str) and _is_uuid(value):
        return "uuid"
    return value


def _kind(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _is_uuid(value: str) -> bool:
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


def shape(value: Any) -> Any:
    """Reduce a value to its keys and types; numbers are one type, lists keep their kinds once."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        kinds = [shape(entry) for entry in value]
        return [kind for index, kind in enumerate(kinds) if kind not in kinds[:index]]
    return _kind(value)


@contextmanager
def listening(server: ComfyUISimulator, client_id: str | None = None) -> Iterator[ClientConnection]:
    """Open a WebSocket."""
    query = "" if client_id is None else f"?clientId={client_id}"
    with connect(f"ws://127.0.0.1:{server.port}/ws{query}", max_size=None) as socket:
        yield socket


def receive(socket: ClientConnection) -> dict[str, Any]:
    """Return the next message; a preview frame as recordings describe it."""
    message = socket.recv(timeout=DEADLINE_SECONDS)
    if isinstance(message, str):
        content: dict[str, Any] = json.loads(message)
        return content
    event, second = (int.from_bytes(message[start : start + 4]) for start in (0, 4))
    if event == 1:
        assert second == 1
        return {"type": "PREVIEW_IMAGE", "image": message[8:]}
    metadata = json.loads(message[8 : 8 + second])
    return {"type": "PREVIEW_IMAGE_WITH_METADATA", "data": metadata, "image": message[8 + second :]}


def receive_until_end(socket: ClientConnection, runs: int = 1) -> list[dict[str, Any]]:
    """Return all messages up to the end of so many runs."""
    messages = []
    while runs:
        messages.append(receive(socket))
        data = messages[-1].get("data", {})
        runs -= messages[-1]["type"] == "executing" and data["node"] is None
    return messages


def recorded_messages(recording: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that a recorded server sent, in the form of `receive`."""
    return [
        {"type": message["event"], "data": message.get("metadata", {})}
        if message.get("binary")
        else {"type": message["type"], "data": message["data"]}
        for message in recording["messages"]
        if "sent" not in message
    ]


def outline(messages: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Reduce messages to their order, shapes, nodes and progress."""
    lines: list[tuple[str, Any]] = []
    for message in messages:
        data = message.get("data", {})
        if message["type"] == "progress_state":
            steps = [(node, entry["state"], float(entry["value"]), float(entry["max"]))
                     for node, entry in data["nodes"].items()]  # fmt: skip
            lines.append(("progress_state", (steps, shape(list(data["nodes"].values())))))
        else:
            named = {key: data.get(key) for key in ("node", "nodes", "value", "max", "node_id")}
            lines.append((message["type"], (named, shape(data))))
    return lines


def post(server: ComfyUISimulator, prompt: dict[str, Any], **more: Any) -> str:
    """Submit a prompt and return its id."""
    answer = server.http.post("/prompt", json={"prompt": prompt, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt_id"])


def finished(server: ComfyUISimulator, prompt_id: str) -> dict[str, Any]:
    """Wait until a prompt is in history and return its entry."""
    found: dict[str, Any] = wait_until(
        lambda: server.http.get(f"/history/{prompt_id}").json(),
        f"prompt {prompt_id} to finish",
    )
    return dict(found[prompt_id])


def queue_ids(server: ComfyUISimulator, part: str) -> list[str]:
    """Return the ids of the prompts in a part of the queue."""
    return [item[1] for item in server.http.get("/queue").json()[part]]


def interrupt(server: ComfyUISimulator, **body: Any) -> None:
    """Interrupt what runs."""
    assert server.http.post("/interrupt", json=body).status_code == 200


def make_idle(server: ComfyUISimulator) -> None:
    """Clear the queue and interrupt what runs, until nothing does."""
    server.http.post("/queue", json={"clear": True})

    def is_idle() -> bool:
        interrupt(server)
        return bool(server.http.get("/prompt").json()["exec_info"]["queue_remaining"] == 0)

    wait_until(is_idle, "the server to be idle")
