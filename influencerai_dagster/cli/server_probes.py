"""Poll the ComfyUI servers in threads, so that one without an answer delays no other."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from influencerai_dagster.errors import InfluencerAIError

if TYPE_CHECKING:
    from influencerai_dagster.engines.comfyui.client import ComfyUIClient

TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class ProbedServer:
    """One server as it answered last.

    Attributes:
        url: without credentials.
        is_up: None before its first answer.
        running: prompts that it renders.
        pending: prompts in its queue, of whomever they are.
    """

    url: str
    is_up: bool | None
    running: int = 0
    pending: int = 0


class ServerProbes:
    """Asks every server again and again, and one question at a time; a context manager.

    Args:
        urls: the servers, COMFYUI_URL, with their credentials.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        from influencerai_dagster.engines.comfyui import client as comfyui  # noqa: PLC0415 - httpx

        self._clients = [
            comfyui.ComfyUIClient(url, timeout_seconds=TIMEOUT_SECONDS) for url in urls
        ]
        self._states = [ProbedServer(client.url, is_up=None) for client in self._clients]
        self._pool = ThreadPoolExecutor(len(urls), thread_name_prefix="probe")
        self._asked: list[Future[ProbedServer]] = [self._ask(client) for client in self._clients]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for client in self._clients:
            client.close()

    def states(self, *, wait_seconds: float = 0.0) -> list[ProbedServer]:
        """Return the newest answers, and poll the servers again that have answered.

        Args:
            wait_seconds: how long to wait for answers that are on their way.
        """
        wait(self._asked, timeout=wait_seconds)
        for index, asked in enumerate(self._asked):
            if asked.done():
                self._states[index] = asked.result()
                self._asked[index] = self._ask(self._clients[index])
        return list(self._states)

    def _ask(self, client: "ComfyUIClient") -> Future[ProbedServer]:
        return self._pool.submit(_state_of, client)


def _state_of(client: "ComfyUIClient") -> ProbedServer:
    try:
        queue = client.queue()
    except InfluencerAIError:
        return ProbedServer(client.url, is_up=False)
    return ProbedServer(
        client.url, is_up=True, running=len(queue.running), pending=len(queue.pending)
    )
