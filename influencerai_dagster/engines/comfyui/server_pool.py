"""Hold all ComfyUI servers of one process: which can be used, and where a prompt is.

Each server has one client, one progress socket and one thread that probes it (server.py). A server
that is not usable comes back by itself. The caller chooses which server renders what.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Self

from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.server import Server, ServerState, ServerTimes
from influencerai_dagster.engines.comfyui.values import HistoryEntry, QueueState, Workflow
from influencerai_dagster.errors import PermanentError, TransientError

_FIRST_PROBE_SECONDS = 2.0
_TIMES = ServerTimes()

_log = logging.getLogger(__name__)


class ServerPool:
    """The servers of COMFYUI_URL; probes them inside its `with` block.

    Args:
        urls: addresses, with credentials where they are needed.
        times: when each is probed, and when it counts as broken.
    """

    def __init__(self, urls: Sequence[str], times: ServerTimes = _TIMES) -> None:
        servers = [Server(url, times) for url in urls]
        self._servers = {server.url: server for server in servers}
        self._watchers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for server in self:
            name = f"health of {server.url}"
            self._watchers.append(threading.Thread(target=server.watch, name=name, daemon=True))
            self._watchers[-1].start()
        deadline = time.monotonic() + _FIRST_PROBE_SECONDS
        for server in self:
            server.was_probed.wait(max(0.0, deadline - time.monotonic()))
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

    def __len__(self) -> int:
        return len(self._servers)

    def __getitem__(self, url: str) -> Server:
        """Return a server by its address without credentials; PermanentError if there is none."""
        try:
            return self._servers[url]
        except KeyError:
            known = ", ".join(self._servers)
            raise PermanentError(f"ComfyUI at {url} is not one of COMFYUI_URL ({known})") from None

    def states(self) -> list[ServerState]:
        """Return every server as of its last probe."""
        return [server.state for server in self]

    def usable(self) -> dict[str, int]:
        """Return the servers that can be used now, with the length of their queues."""
        return {state.url: state.queue_length for state in self.states() if state.health.is_usable}

    def least_loaded_for(self, workflow: Workflow) -> Server:
        """Return the usable server with the shortest queue of those that can run a workflow.

        Raises:
            UnfitServerError: none of them can; the text is that of the last that was checked.
            TransientError: none can be used; the text says why for each.
        """
        usable = self.usable()
        if not usable:
            found = "; ".join(f"{state.url}: {state.problem}" for state in self.states())
            raise TransientError(f"no ComfyUI server of COMFYUI_URL can be used: {found}")
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
