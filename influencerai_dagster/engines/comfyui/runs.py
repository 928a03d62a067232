"""One run from workflow to files: submit, wait, fetch, and leave nothing behind on a failure.

The socket tells early, history tells the truth, and nothing is polled while event comes
(docs/protocols/comfyui.md, points 9 to 13 and 17 to 22). What is sent and received lives in
client.py and progress_socket.py; which server runs what is the caller's business. Safe in several
threads, each with a prompt_id of its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher
from influencerai_dagster.engines.comfyui.progress import RenderProgress
from influencerai_dagster.engines.comfyui.progress_socket import EventSource, ProgressSocket
from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.tenant_nodes import BASE_MODEL_LOADERS
from influencerai_dagster.engines.comfyui.values import (
    HistoryEntry,
    OutputFile,
    QueueState,
    RunFailure,
    RunStatus,
    Workflow,
)
from influencerai_dagster.engines.comfyui.waiting import RunWatch, locate
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)

_FILE_LOADERS = BASE_MODEL_LOADERS | {"LoraLoader"}


@dataclass(frozen=True)
class RenderedFile:
    """One file that a run saved; `file_name` is its name without folders."""

    file_name: str
    content: bytes


@dataclass(frozen=True)
class RenderResult:
    """What a run made.

    Attributes:
        files: saved files in the order of the nodes and of their batch; previews are left out.
        seconds: how long the server executed it, without the time in its queue.
        was_found: an earlier submission of this prompt_id made it; nothing was submitted now.
    """

    prompt_id: str
    files: tuple[RenderedFile, ...]
    seconds: float
    was_found: bool


def run_workflow(
    client: ComfyUIClient,
    workflow: Workflow,
    *,
    prompt_id: str,
    timeout_seconds: float,
    on_progress: Callable[[RenderProgress], None] | None = None,
    silence_seconds: float = 15.0,
    event_dispatcher: EventDispatcher | None = None,
    is_new: bool = False,
    is_front: bool = False,
) -> RenderResult:
    """Render a workflow, or fetch what an earlier submission of this prompt_id made or is making.

    Whatever ends this early deletes or interrupts this prompt on the server, and no other.

    Args:
        client: the server to render on.
        workflow: in API format, filled and validated.
        prompt_id: a UUID for each job and attempt.
        timeout_seconds: limit of the execution; the time in the server's queue is not counted.
        on_progress: called in this thread for every step; what it raises ends the run.
        silence_seconds: after this long without event of this prompt, history and queue are asked.
        event_dispatcher: the server's, to share its socket; None opens one for this run.
        is_new: this prompt_id was never submitted before, so nobody need be asked for it.
        is_front: it goes before the prompts that wait on the server.

    Raises:
        UnfitServerError: the server refused the workflow, or could not load a file of it.
        PermanentError: a node failed for a reason that stays.
        TransientError: the server is away, restarted, lost the prompt or its file, or stopped
            executing; the run was interrupted, ran out of memory or out of time. Submit it again
            with another prompt_id and filename_prefix. As NeverStartedError, none of it ran.
    """
    started = time.monotonic()
    found = None if is_new else locate(client, prompt_id)
    if isinstance(found, HistoryEntry):
        if found.status is not RunStatus.INTERRUPTED:
            return _fetch(client, found, was_found=True, seconds=0.0)
        client.forget(prompt_id)  # or the wait would take the old end for the new one
    was_found = isinstance(found, QueueState)
    try:
        with RunWatch(
            client,
            workflow,
            prompt_id=prompt_id,
            open_events=partial(_open_events, client, event_dispatcher, prompt_id),
            timeout_seconds=timeout_seconds,
            silence_seconds=silence_seconds,
            is_foreign_prompt=was_found,
            on_progress=on_progress,
        ) as watch:
            if not was_found:
                client.submit(
                    workflow, prompt_id=prompt_id, client_id=watch.client_id, is_front=is_front
                )
            entry = watch.wait()
    except BaseException:
        client.cancel(prompt_id)
        raise
    return _fetch(client, entry, was_found=was_found, seconds=time.monotonic() - started)


def _open_events(
    client: ComfyUIClient,
    event_dispatcher: EventDispatcher | None,
    prompt_id: str,
    is_foreign_prompt: bool,  # noqa: FBT001 - a partial of it
) -> EventSource:
    if event_dispatcher is None:
        return ProgressSocket(client.connection)
    return event_dispatcher.subscribe(prompt_id, is_foreign_prompt=is_foreign_prompt)


def fetch_finished(client: ComfyUIClient, prompt_id: str) -> RenderResult | None:
    """Return the result of an earlier run if it succeeded and the server still has it.

    Raises:
        TransientError: the server is away, or has the run but not its files any more.
    """
    entry = client.history(prompt_id)
    if entry is None or entry.status is not RunStatus.SUCCESS:
        return None
    return _fetch(client, entry, was_found=True, seconds=0.0)


def _fetch(
    client: ComfyUIClient, entry: HistoryEntry, *, was_found: bool, seconds: float
) -> RenderResult:
    """Download the files of a successful run at once; raise the error of another."""
    if entry.failure is not None:
        raise _error(client.url, entry, entry.failure)
    saved = [file for file in entry.files if file.type == "output"]
    if not saved:
        raise PermanentError(
            f"ComfyUI at {client.url} ran {entry.prompt_id} and saved no file: the workflow needs "
            "a node that saves, for example SaveImage."
        )
    return RenderResult(
        prompt_id=entry.prompt_id,
        files=_download(client, saved),
        seconds=seconds if entry.seconds is None else entry.seconds,
        was_found=was_found,
    )


def _download(client: ComfyUIClient, saved: list[OutputFile]) -> tuple[RenderedFile, ...]:
    limits = client.limits
    if len(saved) > limits.num_files:
        raise PermanentError(
            f"the workflow gave {len(saved)} files; at most {limits.num_files} are fetched: let it "
            "save fewer"
        )
    files: list[RenderedFile] = []
    left = limits.run_bytes
    for file in saved:
        files.append(RenderedFile(file.filename, client.view(file)))
        left -= len(files[-1].content)
        if left < 0:
            raise PermanentError(
                f"the files of the workflow have more than {limits.run_bytes} bytes together, "
                "which is more than is fetched: let it save fewer or smaller ones"
            )
    return tuple(files)


def _error(url: str, entry: HistoryEntry, failure: RunFailure) -> InfluencerAIError:
    """Choose the class by what may be different next time: memory, disk space, a person's click."""
    where = f"node {failure.node_id} ({failure.node_class})"
    if entry.status is RunStatus.INTERRUPTED:
        return TransientError(
            f"run {entry.prompt_id} was interrupted on ComfyUI at {url} in {where}; submit it again"
        )
    text = (
        f"run {entry.prompt_id} failed on ComfyUI at {url} in {where}: "
        f"{failure.exception_type}: {failure.message}"
    )
    if "No space left on device" in failure.message:
        return InsufficientStorageError(f"{text}. Make space on the server's disk.")
    if failure.exception_type.endswith("OutOfMemoryError"):
        return TransientError(f"{text}. Try again, or ask for a smaller image.")
    if failure.node_class in _FILE_LOADERS:
        return UnfitServerError(
            f"{text}. The file is there, but damaged or of another kind: look at it on that server."
        )
    return PermanentError(text)
