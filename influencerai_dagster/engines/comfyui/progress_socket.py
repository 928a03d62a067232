"""Read ComfyUI's WebSocket and decode its messages into events.

History is the truth, an event only says when to read it (docs/protocols/comfyui.md, points 9 and
17 to 20). One socket has one fresh client id: a second socket with the same id takes over, and when
the first closes the second goes deaf.
"""

import json
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, TypeAlias
from uuid import uuid4

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from influencerai_dagster.engines.comfyui.http import HttpConnection
from influencerai_dagster.errors import TransientError
from influencerai_dagster.http_clients import ssl_context

_ANNOUNCEMENT = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
_PREVIEW_WITH_METADATA = 4
_HEADER = struct.Struct(">II")
_MAX_MESSAGE_BYTES = 8 * 1024**2
"""A preview has some 100 kB; what is larger ends the socket, and history tells of the run."""
_CLOSE_SECONDS = 1.0
# Loading a checkpoint can keep the server's event loop from answering a ping for a while.
_PONG_SECONDS = 60.0


@dataclass(frozen=True)
class NodeProgress:
    """A node of a run is at `value` of `maximum`."""

    prompt_id: str
    node_id: str
    value: float
    maximum: float


@dataclass(frozen=True)
class PreviewImage:
    """What a sampler has so far, as JPEG or PNG."""

    prompt_id: str
    node_id: str
    content: bytes


@dataclass(frozen=True)
class RunEnded:
    """`executing` with node null: the run is over, in whatever way, and history has it."""

    prompt_id: str


@dataclass(frozen=True)
class QueueChanged:
    """`status`, which goes to every socket: some prompt was queued, began or ended."""


@dataclass(frozen=True)
class UnknownEvent:
    """Any other message; prompt_id is empty if it is about no prompt."""

    prompt_id: str = ""


@dataclass(frozen=True)
class Recheck:
    """Not from the server: the prompt was cancelled, so that history and queue have to be read."""


@dataclass(frozen=True)
class ServerLost:
    """Not from the server: it was found unusable, and no queued run should wait for it."""

    reason: str


ServerEvent: TypeAlias = (
    NodeProgress | PreviewImage | RunEnded | QueueChanged | UnknownEvent | Recheck | ServerLost
)


class ProgressSocket:
    """One open socket under a client id of its own; a context manager."""

    def __init__(self, connection: HttpConnection) -> None:
        """Open the socket; TransientError if the server is away or refuses it."""
        self.client_id = str(uuid4())
        address, headers = connection.websocket_address(self.client_id)
        self._url = address.partition("?")[0]  # for texts: a token may follow
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                connect(
                    address,
                    additional_headers=headers,
                    max_size=_MAX_MESSAGE_BYTES,
                    close_timeout=_CLOSE_SECONDS,
                    ping_timeout=_PONG_SECONDS,
                    proxy=None,
                    ssl=ssl_context(address),
                )
            )
            # Previews name their prompt only if this is the first message.
            self._socket.send(json.dumps(_ANNOUNCEMENT))
        except (OSError, WebSocketException) as error:
            self.close()
            raise TransientError(
                f"{self._url}: the progress socket cannot be opened ({error}). Is ComfyUI running?"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._open.close()

    def receive(self, timeout_seconds: float) -> ServerEvent | None:
        """Return the next message, or None if none came in time; TransientError if it is closed."""
        try:
            frame = self._socket.recv(timeout=max(timeout_seconds, 0.0))
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise TransientError(f"{self._url}: the progress socket closed ({error})") from error
        return decode_text(frame) if isinstance(frame, str) else decode_binary(frame)


def decode_text(frame: str) -> ServerEvent:
    """Decode one JSON message; what is unknown or malformed is UnknownEvent."""
    try:
        message = json.loads(frame)
    except ValueError:
        return UnknownEvent()
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict):
        return UnknownEvent()
    prompt_id = str(data.get("prompt_id") or "")
    event: ServerEvent | None = None
    match message.get("type"):
        case "status":
            event = QueueChanged()
        # Without prompt_id it tells a new socket which node runs, of anybody's prompt.
        case "executing" if prompt_id:
            node = data.get("display_node") or data.get("node")
            event = NodeProgress(prompt_id, str(node), 0.0, 1.0) if node else RunEnded(prompt_id)
        case "progress":
            event = _progress(prompt_id, data)
        case "progress_state" if isinstance(data.get("nodes"), dict):
            event = _running_node(prompt_id, data["nodes"])
    return event or UnknownEvent(prompt_id)


def _running_node(prompt_id: str, nodes: dict[str, Any]) -> NodeProgress | None:
    running = [
        node for node in nodes.values() if isinstance(node, dict) and node.get("state") == "running"
    ]
    return _progress(prompt_id, running[-1]) if running else None


def _progress(prompt_id: str, data: dict[str, Any]) -> NodeProgress | None:
    node_id = data.get("display_node_id") or data.get("node") or data.get("node_id")
    match data:
        case {"value": int() | float() as value, "max": int() | float() as maximum} if node_id:
            return NodeProgress(prompt_id, str(node_id), float(value), float(maximum))
    return None


def decode_binary(frame: bytes) -> ServerEvent:
    """Decode one binary frame: u32 big-endian event, and for event 4 u32 length, JSON, image.

    Event 1 (the preview of clients that announced nothing) does not say whose it is: UnknownEvent.
    """
    try:
        event, length = _HEADER.unpack_from(frame)
        if event != _PREVIEW_WITH_METADATA:
            return UnknownEvent()
        start = _HEADER.size + length
        metadata = json.loads(frame[_HEADER.size : start])
        return PreviewImage(
            prompt_id=str(metadata["prompt_id"]),
            node_id=str(metadata.get("display_node_id") or metadata["node_id"]),
            content=bytes(frame[start:]),
        )
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return UnknownEvent()
