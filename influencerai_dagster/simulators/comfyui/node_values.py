"""Define the inputs and outputs of every node."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from influencerai_dagster.simulators.comfyui.faults import Faults
from influencerai_dagster.simulators.comfyui.folders import Folders


@dataclass(frozen=True)
class NodeContext:
    """What a running node may use of its server and its run."""

    folders: Folders
    faults: Faults
    prompt: dict[str, Any]
    extra_pnginfo: dict[str, Any]
    is_watched: bool
    wait: Callable[[float], None]
    step: Callable[[int, int, bytes | None], None]
    count_rendered: Callable[[], None]
    note_lost: Callable[[], None]


@dataclass(frozen=True)
class NodeResult:
    """Values of a node's output slots, and what an output node reports to history."""

    values: tuple[Any, ...] = ()
    ui: dict[str, Any] | None = None
