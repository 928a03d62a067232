"""All ComfyUI servers of one process: which can be used, how busy they are, and runs on them.

Each server has one client, one progress socket and one thread that looks after it every second or
two. A server that does not answer, that executes nothing though prompts wait
(docs/protocols/comfyui.md, point 2) or that is stuck in one prompt is taken out; it comes back by
itself. Who gets which server is the caller's business.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.runs import RenderResult, run_workflow
from influencerai_dagster.engines.comfyui.server import (
    HUNG_SECONDS,
    STUCK_SECONDS,
    Server,
    ServerState,
)
from influencerai_dagster.engines.comfyui.values import (
    HistoryEntry,
    QueueState,
    Workflow,
)
from influencerai_dagster.errors import PermanentError, TransientError

_FIRST_LOOK_SECONDS = 2.0

_log = logging.getLogger(__name__)


class ServerPool:
    """The servers of COMFYUI_URL; looks after them inside of its `with` block.

    Args:
        urls: addresses, with credentials where they are needed.
        hung_seconds: so long a server may have prompts waiting and execute none.
        stuck_seconds: so long it may execute one prompt; longer than renders may take.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        hung_seconds: float = HUNG_SECONDS,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        servers = [
            Server(url, hung_seconds=hung_seconds, stuck_seconds=stuck_seconds) for url in urls
        ]
        self._servers = {server.url: server for server in servers}
        self._watchers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for server in self:
            name = f"health of {server.url}"
            self._watchers.append(threading.Thread(target=server.watch, name=name, daemon=True))
            self._watchers[-1].start()
        deadline = time.monotonic() + _FIRST_LOOK_SECONDS
        for server in self:
            server.was_asked.wait(max(0.0, deadline - time.monotonic()))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; runs that still wait get an error."""
        for server in self:
            server.close()
        for watcher in self._watchers:
            watcher.join()

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def __getitem__(self, url: str) -> Server:
        """Return a server by its address without credentials; PermanentError: there is none."""
        try:
            return self._servers[url]
        except KeyError:
            known = ", ".join(self._servers)
            raise PermanentError(f"ComfyUI at {url} is none of COMFYUI_URL ({known})") from None

    def states(self) -> list[ServerState]:
        """Return how every server was at its last look."""
        return [server.state for server in self]

    def usable(self) -> dict[str, int]:
        """Return the servers that can be used now, with the length of their queues."""
        return {state.url: state.queue_length for state in self.states() if state.problem is None}

    def least_loaded(self) -> Server:
        """Return the usable server with the shortest queue.

        Raises:
            TransientError: none can be used; the text says why for each.
        """
        usable = self.usable()
        if not usable:
            found = "; ".join(f"{state.url}: {state.problem}" for state in self.states())
            raise TransientError(f"no ComfyUI server of COMFYUI_URL can be used: {found}")
        return self[min(usable, key=lambda url: usable[url])]

    def least_loaded_for(self, workflow: Workflow) -> Server:
        """Return the usable server with the shortest queue of those that can run a workflow.

        Raises:
            UnfitServerError: none of them can; the text is that of the last that was asked.
            TransientError: none can be used; the text says why for each.
        """
        self.least_loaded()
        usable = self.usable()
        problem: UnfitServerError | None = None
        for url in sorted(usable, key=lambda url: usable[url]):
            try:
                self[url].check(workflow)
            except UnfitServerError as error:
                problem = error
                continue
            return self[url]
        raise problem or TransientError("no ComfyUI server can be used at this moment; try again")

    def find(self, prompt_id: str) -> tuple[Server, HistoryEntry | QueueState] | None:
        """Look for a prompt on every server that answers."""
        for server in self:
            try:
                found = server.locate(prompt_id)
            except TransientError as error:
                _log.warning("prompt %s was not looked for: %s", prompt_id, error)
                continue
            if found is not None:
                return server, found
        return None

    def run(self, url: str, workflow: Workflow, **options: Any) -> RenderResult:  # noqa: ANN401 - those of run_workflow
        """Render on a server, see `run_workflow`; a passing failure makes it looked at."""
        server = self[url]
        try:
            return run_workflow(
                server.client, workflow, event_dispatcher=server.dispatcher, **options
            )
        except TransientError:
            server.look_soon()
            raise

    def cancel(self, url: str, prompt_id: str) -> None:
        """Take a prompt off a server, whether it waits or runs; its run here ends at once."""
        server = self._servers.get(url)
        if server is not None:
            server.client.cancel(prompt_id)
            server.dispatcher.look_now(prompt_id)
