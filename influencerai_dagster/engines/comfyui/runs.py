"""Run one workflow: submit it, wait, download its files, and clean up after a failure.

The requests are in client.py, the waiting in waiting.py; the caller chooses the server. Source:
docs/protocols/comfyui.md, points 9 to 13 and 17 to 22.
"""

import time

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher
from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.tenant_nodes import BASE_MODEL_LOADERS
from influencerai_dagster.engines.comfyui.values import (
    HistoryEntry,
    OutputFile,
    QueueState,
    RenderedFile,
    RenderRequest,
    RenderResult,
    RunFailure,
    RunStatus,
)
from influencerai_dagster.engines.comfyui.waiting import RunPhase, RunWatch, locate
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)

_FILE_LOADERS = BASE_MODEL_LOADERS | {"LoraLoader"}


def run_workflow(
    client: ComfyUIClient, dispatcher: EventDispatcher, request: RenderRequest
) -> RenderResult:
    """Render a workflow, or fetch what an earlier submission of its prompt_id made or is making.

    After any error the prompt is deleted or interrupted on the server, and no other prompt. Safe
    between threads, each with a prompt_id of its own.

    Args:
        client: of the server to render on.
        dispatcher: of the same server's events.
        request: the workflow and its limits.

    Raises:
        UnfitServerError: the server refused the workflow, or could not load a file of it.
        PermanentError: a node failed for a reason that stays.
        TransientError: the server is away, restarted, lost the prompt or its file, or stopped
            executing; the run was interrupted, ran out of memory or out of time. Submit it again
            with another prompt_id and filename_prefix.
        NeverStartedError: such an error before any of the run was executed.
    """
    started = time.monotonic()
    prompt_id = request.prompt_id
    found = None if request.is_new else locate(client, prompt_id)
    if isinstance(found, HistoryEntry):
        if found.status is not RunStatus.INTERRUPTED:
            return _fetch(client, found, was_found=True, seconds=0.0)
        client.forget(prompt_id)  # otherwise the old end would count as that of the new run
    was_found = isinstance(found, QueueState)
    phase = RunPhase.STATUS_ONLY if was_found else RunPhase.QUEUED
    try:
        with RunWatch(client, dispatcher, request, phase) as watch:
            if not was_found:
                client.submit(
                    request.workflow,
                    prompt_id=prompt_id,
                    client_id=watch.client_id,
                    is_front=request.is_front,
                )
            entry = watch.wait()
    except BaseException:
        client.cancel(prompt_id)
        raise
    return _fetch(client, entry, was_found=was_found, seconds=time.monotonic() - started)


def _fetch(
    client: ComfyUIClient, entry: HistoryEntry, *, was_found: bool, seconds: float
) -> RenderResult:
    """Download the files of a successful run; raise the error of a failed one."""
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
            f"the workflow saved {len(saved)} files; at most {limits.num_files} are fetched: "
            "let it save fewer"
        )
    files: list[RenderedFile] = []
    left = limits.run_bytes
    for file in saved:
        files.append(RenderedFile(file.filename, client.view(file)))
        left -= len(files[-1].content)
        if left < 0:
            raise PermanentError(
                f"the workflow saved more than {limits.run_bytes} bytes, the most that is fetched: "
                "let it save fewer or smaller files"
            )
    return tuple(files)


def _error(url: str, entry: HistoryEntry, failure: RunFailure) -> InfluencerAIError:
    """Return the error of a run, by whether another attempt or another server can succeed."""
    where = f"node {failure.node_id} ({failure.node_class})"
    if entry.status is RunStatus.INTERRUPTED:
        return TransientError(
            f"prompt {entry.prompt_id} was interrupted on ComfyUI at {url} in {where}; submit it "
            "again"
        )
    text = (
        f"prompt {entry.prompt_id} failed on ComfyUI at {url} in {where}: "
        f"{failure.exception_type}: {failure.message}"
    )
    if "No space left on device" in failure.message:
        return InsufficientStorageError(f"{text}. Make space on the server's disk.")
    if failure.exception_type.endswith("OutOfMemoryError"):
        return TransientError(f"{text}. Try again, or ask for a smaller image.")
    if failure.node_class in _FILE_LOADERS:
        return UnfitServerError(
            f"{text}. The file exists on that server, but is damaged or of another kind: check it."
        )
    return PermanentError(text)
