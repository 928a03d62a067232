"""Traffic of a real ComfyUI, replayed to the client; the files are in recorded/comfyui."""

import json
from typing import Any

import httpx

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster_tests.testing.paths import RECORDED_DIR

_ROOT = RECORDED_DIR / "comfyui"


def recording(name: str) -> dict[str, Any]:
    """Return one recording, for example "http/queue_idle"."""
    content: dict[str, Any] = json.loads((_ROOT / f"{name}.json").read_text())
    return content


def recording_names(pattern: str) -> list[str]:
    """Return the names of all recordings that match, for example "prompt_fail/*"."""
    found = sorted(_ROOT.glob(f"{pattern}.json"))
    assert found, f"no recording matches {pattern}"
    return [str(path.relative_to(_ROOT).with_suffix("")) for path in found]


def recorded_body(name: str) -> Any:
    """Return what the server answered; a few recordings hold nothing else."""
    content = recording(name)
    return content["response"]["body"] if "response" in content else content


def replaying(name: str) -> ComfyUIClient:
    """Return a client whose every request is answered as recorded."""
    response = recording(name)["response"]
    return answering(
        httpx.Response(
            response["status"],
            headers={"content-type": response["headers"].get("content-type", "text/plain")},
            content=json.dumps(response["body"])
            if response.get("body") is not None
            else response.get("body_text", ""),
        )
    )


def answering(response: httpx.Response) -> ComfyUIClient:
    """Return a client whose every request gets this answer."""
    transport = httpx.MockTransport(lambda _: response)
    return ComfyUIClient("http://comfyui.test:8188", transport=transport)
