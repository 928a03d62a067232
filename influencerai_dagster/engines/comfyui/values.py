"""Define frozen values: what a render is asked for, what it gave, and what ComfyUI answers.

The requests are in client.py, the node classes in object_info.py. Where a field has another name
than ComfyUI's, the alias is ComfyUI's name. Source: docs/protocols/comfyui.md, points 8, 11, 12
and 23.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

VIDEO_SUFFIXES = (".mp4", ".webm", ".mov")
Workflow: TypeAlias = Mapping[str, Any]
"""A workflow in API format: node id → {"class_type": …, "inputs": {…}}."""


@dataclass(frozen=True)
class RenderProgress:
    """How far one node of a run is.

    Attributes:
        node_class: empty for a node that ComfyUI made itself while running.
        preview_image: JPEG or PNG of what the sampler has so far, if the event brought one.
    """

    prompt_id: str
    node_id: str
    node_class: str
    value: float
    max: float
    preview_image: bytes | None = None

    @property
    def fraction(self) -> float:
        """How much of this node's work is done, 0 to 1."""
        return min(max(self.value / self.max, 0.0), 1.0) if self.max > 0 else 0.0


@dataclass(frozen=True)
class RenderRequest:
    """One run that a server is asked for.

    Attributes:
        workflow: in API format, filled and validated.
        prompt_id: a UUID for each job and attempt.
        timeout_seconds: limit of the execution; the time in the server's queue is not counted.
        on_progress: called for every step in the thread that waits; an error from it ends the run.
        is_new: no earlier submission had this prompt_id, so that history and queue are not read.
        is_front: the prompt goes before the queued ones; the running one is not stopped.
        silence_seconds: history and queue are read after this long without an event of the prompt.
    """

    workflow: Workflow
    prompt_id: str
    timeout_seconds: float
    on_progress: Callable[[RenderProgress], None] | None = None
    is_new: bool = False
    is_front: bool = False
    silence_seconds: float = 15.0


@dataclass(frozen=True)
class RenderedFile:
    """One file that a run saved; `file_name` is its name without folders."""

    file_name: str
    content: bytes


@dataclass(frozen=True)
class RenderResult:
    """The files that a run saved.

    Attributes:
        files: in the order of the nodes and of their batches, without previews.
        seconds: how long the server executed the run, without the time in its queue.
        was_found: an earlier submission of this prompt_id made it; nothing was submitted now.
    """

    prompt_id: str
    files: tuple[RenderedFile, ...]
    seconds: float
    was_found: bool


class Answer(BaseModel):
    """A part of an answer; servers add fields from version to version, so unknown ones pass."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Device(Answer):
    """A device that ComfyUI computes on."""

    name: str
    type: str
    vram_free_bytes: int = Field(alias="vram_free")


class System(Answer):
    """Version and main memory of a server."""

    comfyui_version: str = "unknown"
    ram_free_bytes: int = Field(default=0, alias="ram_free")


class SystemStats(Answer):
    """Version and memory of one server."""

    system: System
    devices: tuple[Device, ...]

    @property
    def comfyui_version(self) -> str:
        """ComfyUI's version; a simulator's contains "simulated"."""
        return self.system.comfyui_version

    @property
    def is_simulated(self) -> bool:
        """Whether this is the simulator of the local stack."""
        return "simulated" in self.comfyui_version

    @property
    def vram_free_bytes(self) -> int:
        """Free memory of all devices together."""
        return sum(device.vram_free_bytes for device in self.devices)


@dataclass(frozen=True)
class QueuedPrompt:
    """One prompt that runs or waits; the lowest number runs first."""

    number: float
    prompt_id: str


@dataclass(frozen=True)
class QueueState:
    """The running and the queued prompts, in the order in which they run."""

    running: tuple[QueuedPrompt, ...]
    pending: tuple[QueuedPrompt, ...]

    def is_running(self, prompt_id: str) -> bool:
        """Return whether the server executes this prompt now."""
        return any(prompt.prompt_id == prompt_id for prompt in self.running)

    def is_pending(self, prompt_id: str) -> bool:
        """Return whether this prompt waits in the queue."""
        return any(prompt.prompt_id == prompt_id for prompt in self.pending)


_QueueItem = Annotated[tuple[Any, ...], Field(min_length=2)]


class QueueAnswer(Answer):
    """GET /queue: items begin with number and prompt_id; queue_pending is a heap, not sorted."""

    queue_running: tuple[_QueueItem, ...]
    queue_pending: tuple[_QueueItem, ...]

    def to_state(self) -> QueueState:
        """Return the queue in running order."""
        return QueueState(_in_order(self.queue_running), _in_order(self.queue_pending))


def _in_order(items: tuple[_QueueItem, ...]) -> tuple[QueuedPrompt, ...]:
    prompts = [QueuedPrompt(float(item[0]), str(item[1])) for item in items]
    return tuple(sorted(prompts, key=lambda prompt: prompt.number))


@dataclass(frozen=True)
class OutputFile:
    """A file that a node saved, as GET /view takes it.

    Attributes:
        type: folder of the server: "output", "temp" (previews) or "input".
        node_id: the node that reported it; empty if the caller names the file itself.
    """

    filename: str
    subfolder: str = ""
    type: str = "output"
    node_id: str = ""

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by the ending of its name."""
        return self.filename.lower().endswith(VIDEO_SUFFIXES)


class UploadAnswer(Answer):
    """Where an upload was stored, which may be under another name than it was sent."""

    name: str
    subfolder: str = ""


class RunStatus(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class RunFailure:
    """The node that failed or was interrupted, and its exception if there was one."""

    node_id: str
    node_class: str
    exception_type: str
    message: str


@dataclass(frozen=True)
class HistoryEntry:
    """One finished run.

    Attributes:
        files: all that the nodes reported, in their order; a failed run may list some too.
        failure: set unless the run succeeded.
        seconds: from start to end of the execution by the server's clock, None if not recorded.
    """

    prompt_id: str
    status: RunStatus
    files: tuple[OutputFile, ...]
    failure: RunFailure | None
    seconds: float | None


class _StatusAnswer(Answer):
    status_str: str
    messages: tuple[tuple[str, dict[str, Any]], ...] = ()


class HistoryAnswer(Answer):
    """One entry of GET /history/{prompt_id}."""

    outputs: dict[str, dict[str, Any]]
    status: _StatusAnswer

    def to_entry(self, prompt_id: str) -> HistoryEntry:
        """Return the entry; only the last message distinguishes an interruption from an error."""
        messages = self.status.messages
        last_type, last = messages[-1] if messages else ("", {})
        status = RunStatus.SUCCESS if self.status.status_str == "success" else RunStatus.ERROR
        if last_type == "execution_interrupted":
            status = RunStatus.INTERRUPTED
        return HistoryEntry(
            prompt_id=prompt_id,
            status=status,
            files=tuple(_files(self.outputs)),
            failure=None if status is RunStatus.SUCCESS else _failure(last),
            seconds=_seconds([data for _, data in messages]),
        )


def _files(outputs: dict[str, dict[str, Any]]) -> list[OutputFile]:
    """Return the files under any output key ("images", "gifs", "audio"): it is not the kind."""
    return [
        OutputFile(
            filename=str(item["filename"]),
            subfolder=str(item.get("subfolder") or ""),
            type=str(item.get("type") or "output"),
            node_id=node_id,
        )
        for node_id, output in outputs.items()
        for items in output.values()
        if isinstance(items, list)
        for item in items
        if isinstance(item, dict) and item.get("filename")
    ]


def _failure(message: dict[str, Any]) -> RunFailure:
    return RunFailure(
        node_id=str(message.get("node_id", "")),
        node_class=str(message.get("node_type", "")),
        exception_type=str(message.get("exception_type", "")),
        message=str(message.get("exception_message", "")).strip(),
    )


def _seconds(messages: list[dict[str, Any]]) -> float | None:
    stamps = [data["timestamp"] for data in messages if isinstance(data.get("timestamp"), int)]
    return (stamps[-1] - stamps[0]) / 1000 if stamps else None
