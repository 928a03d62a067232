"""When a run does not receive its events, and when it has only just begun."""

import time
from collections.abc import Sequence
from typing import cast

import httpx
import pytest

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher
from influencerai_dagster.engines.comfyui.progress_socket import NodeProgress, RunEnded, ServerEvent
from influencerai_dagster.engines.comfyui.values import RenderProgress, RenderRequest
from influencerai_dagster.engines.comfyui.waiting import RunPhase, RunWatch

PROMPT = "prompt"
RUNNING = {"queue_running": [[0, PROMPT]], "queue_pending": []}
PENDING = {"queue_running": [[0, "other"]], "queue_pending": [[1, PROMPT]]}
ENDED = {
    PROMPT: {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}
}
PROGRESS = NodeProgress(PROMPT, "5", 1, 2)


class ScriptedEvents:
    """A socket that tells what a script has, one entry for each time that it is asked."""

    def __init__(self, script: list[ServerEvent | None]) -> None:
        self.client_id = "me"
        self._script = script

    def receive(self, timeout_seconds: float) -> ServerEvent | None:
        event = self._script.pop(0)
        if event is None:
            time.sleep(max(timeout_seconds, 0))
        return event

    def close(self) -> None:
        pass


class ScriptedDispatcher:
    """Opens scripted sockets, and notes for each whether it hears `status` only."""

    def __init__(self, script: list[ServerEvent | None]) -> None:
        self.opened: list[bool] = []
        self._script = script

    def subscribe(self, _: str, *, hears_status: bool) -> ScriptedEvents:
        self.opened.append(hears_status)
        return ScriptedEvents(self._script)


@pytest.mark.parametrize(
    ("event", "queues", "num_sockets"),
    [
        pytest.param(
            [None, None, PROGRESS, RunEnded(PROMPT)], [PENDING, RUNNING], 1, id="it has just begun"
        ),
        pytest.param(
            [PROGRESS, None, None, PROGRESS, RunEnded(PROMPT)],
            [RUNNING, RUNNING],
            1,
            id="it was heard before, and loads a model",
        ),
        pytest.param(
            [None, None, PROGRESS, RunEnded(PROMPT)], [RUNNING, RUNNING], 2, id="it runs unheard"
        ),
    ],
)
def test_a_socket_is_replaced_only_if_nothing_is_heard_while_the_prompt_runs(
    event: Sequence[ServerEvent | None], queues: Sequence[dict[str, object]], num_sockets: int
) -> None:
    left, script = list(queues), list(event)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/queue":
            return httpx.Response(200, json=left.pop(0))
        return httpx.Response(200, json={} if script else ENDED)

    dispatcher = ScriptedDispatcher(script)
    reported: list[RenderProgress] = []
    request = RenderRequest(
        {"5": {"class_type": "KSampler", "inputs": {}}},
        PROMPT,
        timeout_seconds=30,
        on_progress=reported.append,
        silence_seconds=0.01,
    )
    with (
        ComfyUIClient("http://x.test", transport=httpx.MockTransport(answer)) as client,
        RunWatch(client, cast("EventDispatcher", dispatcher), request, RunPhase.QUEUED) as watch,
    ):
        assert watch.wait().prompt_id == PROMPT
    assert dispatcher.opened == [False, True][:num_sockets]
    assert reported
