"""Send requests to one ComfyUI server: one method per request, which returns typed values.

runs.py waits for a run, progress_socket.py reads the WebSocket. Source:
docs/protocols/comfyui.md, recorded against ComfyUI 0.3.64.

Every method raises TransientError when the server is away, too slow or answers 5xx, and
PermanentError when it refuses what was asked.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from influencerai_dagster.engines.comfyui.http import (
    MAX_BODY_BYTES,
    AnswerLimits,
    AnswerTooLargeError,
    HttpConnection,
)
from influencerai_dagster.engines.comfyui.object_info import NodeClassAnswer, ObjectInfo
from influencerai_dagster.engines.comfyui.rejections import PromptAnswer, UnfitServerError
from influencerai_dagster.engines.comfyui.values import (
    HistoryAnswer,
    HistoryEntry,
    OutputFile,
    QueueAnswer,
    QueueState,
    SystemStats,
    UploadAnswer,
    Workflow,
)
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError

_log = logging.getLogger(__name__)
_SYSTEM_STATS = TypeAdapter(SystemStats)
_OBJECT_INFO = TypeAdapter(dict[str, NodeClassAnswer])
_PROMPT = TypeAdapter(PromptAnswer)
_HISTORY = TypeAdapter(dict[str, HistoryAnswer])
_QUEUE = TypeAdapter(QueueAnswer)
_UPLOAD = TypeAdapter(UploadAnswer)
_NAMES = TypeAdapter(tuple[str, ...])
_METADATA = TypeAdapter(dict[str, str])
_UPLOAD_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")
_CANCEL_TIMEOUT_SECONDS = 5.0
_BAD_REQUEST, _NOT_FOUND = 400, 404


class ComfyUIClient:
    """Sends requests to one server; safe between threads; close it or use it as a context manager.

    Args:
        base_url: address of the server; user:password@ before the host is sent as basic auth.
        timeout_seconds: longest time from a request to the last byte of its answer, but for files;
            how long a render takes does not matter here.
        limits: how large answers may be, and how long a file may take.
        transport: how requests are sent, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float = 30.0,
        limits: AnswerLimits | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.connection = HttpConnection(
            base_url,
            timeout_seconds=timeout_seconds,
            limits=limits or AnswerLimits(),
            transport=transport,
        )

    @property
    def url(self) -> str:
        """The server's address without credentials."""
        return self.connection.url

    @property
    def limits(self) -> AnswerLimits:
        """How large answers may be, and how long a file may take."""
        return self.connection.limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()

    def system_stats(self) -> SystemStats:
        """Return version and memory of the server."""
        return self.connection.parse(self.connection.send("GET", "/system_stats"), _SYSTEM_STATS)

    def object_info(self) -> ObjectInfo:
        """Return every node class; about 0.5 MB, so ask once for many workflows."""
        answer = self.connection.parse(self.connection.send("GET", "/object_info"), _OBJECT_INFO)
        return ObjectInfo({name: item.to_node_class(name) for name, item in answer.items()})

    def models(self, folder: str) -> tuple[str, ...]:
        """Return the files of a models folder ("checkpoints", "loras"), as loaders take them."""
        path = f"/models/{quote(folder, safe='')}"
        return self.connection.parse(self.connection.send("GET", path), _NAMES)

    def model_metadata(self, folder: str, name: str) -> Mapping[str, str]:
        """Return the metadata of a safetensors file; {} if it has none, or is not there."""
        path = f"/view_metadata/{quote(folder, safe='')}"
        answer = self.connection.send("GET", path, accept=(404,), params={"filename": name})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        return self.connection.parse(answer, _METADATA)

    def submit(
        self, workflow: Workflow, *, prompt_id: str, client_id: str, is_front: bool = False
    ) -> None:
        """Queue a workflow under the caller's prompt_id.

        No `number` is ever sent: with a reused prompt_id it kills the server's worker thread.

        Args:
            is_front: it goes before those that wait; the running one is not stopped.

        Raises:
            UnfitServerError: the workflow does not validate there; nothing is queued, also when
                the server would have run it in part.
            TransientError: it may have been queued all the same: ask history and queue, or cancel.
        """
        body: dict[str, Any] = {
            "prompt": workflow,
            "prompt_id": _checked(prompt_id),
            "client_id": client_id,
        }
        if is_front:
            body["front"] = True
        response = self.connection.send("POST", "/prompt", json=body, accept=(_BAD_REQUEST,))
        answer = self.connection.parse(response, _PROMPT)
        what = f"ComfyUI at {self.url} refused workflow {prompt_id}"
        if response.status_code == _BAD_REQUEST:
            raise UnfitServerError(f"{what}: {answer.describe()}")
        if answer.node_errors:
            self.cancel(prompt_id)
            raise UnfitServerError(
                f"{what} in part and would have left outputs out: {answer.describe()}"
            )
        if answer.prompt_id != prompt_id:
            if answer.prompt_id:
                self.delete_pending(answer.prompt_id)
            raise PermanentError(
                f"ComfyUI at {self.url} queued {prompt_id} as {answer.prompt_id}: it is too old to "
                "take the caller's prompt_id. Update it to 0.3.64 or newer."
            )

    def history(self, prompt_id: str) -> HistoryEntry | None:
        """Return how a run ended, or None while it runs or waits, or if it is unknown."""
        path = f"/history/{quote(_checked(prompt_id), safe='')}"
        answer = self.connection.parse(self.connection.send("GET", path), _HISTORY)
        found = answer.get(prompt_id)
        return None if found is None else found.to_entry(prompt_id)

    def forget(self, prompt_id: str) -> None:
        """Remove a run from the history, so that its prompt_id can be submitted again."""
        self.connection.send("POST", "/history", json={"delete": [_checked(prompt_id)]})

    def queue(self) -> QueueState:
        """Return the running and the queued prompts."""
        return self.connection.parse(self.connection.send("GET", "/queue"), _QUEUE).to_state()

    def delete_pending(self, prompt_id: str) -> None:
        """Remove this prompt from the queue; a running one continues."""
        self.connection.send("POST", "/queue", json={"delete": [_checked(prompt_id)]})

    def cancel(self, prompt_id: str) -> None:
        """Delete or interrupt this prompt, wherever it is, and no other; failures are logged.

        Returns within seconds; an interruption takes up to 15 s to act. For the clean-up after a
        failure, whose own error must not be hidden by another. The queue is read before the
        interruption, because old servers ignore the prompt_id and stop the prompt that runs.
        """
        send, seconds = self.connection.send, _CANCEL_TIMEOUT_SECONDS
        delete = {"delete": [_checked(prompt_id)]}
        try:
            send("POST", "/queue", json=delete, seconds=seconds)
            queue = self.connection.parse(send("GET", "/queue", seconds=seconds), _QUEUE)
            if queue.to_state().is_running(prompt_id):
                body = {"prompt_id": prompt_id}
                send("POST", "/interrupt", json=body, accept=(_NOT_FOUND,), seconds=seconds)
        except InfluencerAIError as error:
            _log.warning(
                "prompt %s was not cancelled, its render may be wasted: %s", prompt_id, error
            )

    def upload_image(self, data: bytes, *, file_name: str, subfolder: str = "") -> str:
        """Put an image into the server's input folder; return its name as LoadImage takes it.

        The same name with other bytes gets another name ("pic (1).png"): use the returned one.

        Raises:
            PermanentError: it is larger than 100 MiB, or a name would leave the input folder.
        """
        if len(data) > MAX_BODY_BYTES:
            raise PermanentError(
                f"image {file_name!r} has {len(data)} bytes; ComfyUI takes at most {MAX_BODY_BYTES}"
            )
        for part in (file_name, *(subfolder.split("/") if subfolder else ())):
            if _UPLOAD_NAME.fullmatch(part) is None:
                raise PermanentError(
                    f"image {file_name!r} in subfolder {subfolder!r} cannot be uploaded: {part!r} "
                    "is not a plain name (it is empty, hidden, a path or has control characters)"
                )
        response = self.connection.send(
            "POST",
            "/upload/image",
            files={"image": (file_name, data)},
            data={"subfolder": subfolder, "type": "input"},
            seconds=self.limits.file_seconds,
        )
        stored = self.connection.parse(response, _UPLOAD)
        return f"{stored.subfolder}/{stored.name}" if stored.subfolder else stored.name

    def view(self, file: OutputFile) -> bytes:
        """Return the bytes of a file that a node saved.

        Raises:
            PermanentError: it is larger than `limits` has it for its kind.
            TransientError: it is not there any more, or took too long.
        """
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        max_bytes = self.limits.video_bytes if file.is_video else self.limits.image_bytes
        try:
            response = self.connection.send(
                "GET",
                "/view",
                params=query,
                accept=(_NOT_FOUND,),
                max_bytes=max_bytes,
                seconds=self.limits.file_seconds,
            )
        except AnswerTooLargeError as error:
            raise PermanentError(
                f"ComfyUI at {self.url}: file {file.filename[:200]!r} has more than {max_bytes} "
                "bytes, the most that is fetched. Let the workflow save a smaller file."
            ) from error
        if response.status_code == _NOT_FOUND:
            path = "/".join(filter(None, (file.subfolder, file.filename)))
            raise TransientError(
                f"ComfyUI at {self.url} reported {file.type} file {path!r} but does not have it; "
                "it was deleted, perhaps before an identical workflow was answered from the cache. "
                "Try again with another filename_prefix: that renders again."
            )
        return response.content

    def free_memory(self) -> None:
        """Unload all models and free the device's memory, after the running prompt."""
        body = {"unload_models": True, "free_memory": True}
        self.connection.send("POST", "/free", json=body)


def _checked(prompt_id: str) -> str:
    """Return a prompt_id that names one prompt: an empty one means every prompt, or none."""
    if not prompt_id:
        raise PermanentError(
            "the prompt_id is empty, which would mean any prompt that runs: give a UUID"
        )
    return prompt_id
