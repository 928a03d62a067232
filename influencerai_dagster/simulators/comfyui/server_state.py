"""Hold the state of one running server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from influencerai_dagster.simulators.comfyui.executor import Executor
from influencerai_dagster.simulators.comfyui.faults import Faults, Statistics
from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.prompt_queue import PromptQueue
from influencerai_dagster.simulators.comfyui.sockets import Sockets


@dataclass(frozen=True)
class SimulatorState:
    """The parts of a server that its routes use; `initial_faults` are those of the command line."""

    folders: Folders
    faults: Faults
    initial_faults: dict[str, Any]
    statistics: Statistics
    queue: PromptQueue
    sockets: Sockets
    executor: Executor
    refuse: Callable[[float], None]

    def greeting(self) -> dict[str, Any]:
        """Return what GET /prompt and every status message say."""
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}


STATE = web.AppKey("STATE", SimulatorState)
