"""Send messages to the WebSockets, in one loop; decide which client gets which message.

A client id belongs to the connection that came last, and is forgotten when any connection with it
closes (PROTOCOL point 17). Messages without a client id go to every socket.
"""

import asyncio
import json
import struct
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from influencerai_dagster.simulators.comfyui.faults import Faults

FEATURES = {"supports_preview_metadata": True, "max_upload_size": 100 * 1024 * 1024}
_PREVIEW_IMAGE = 1
_PREVIEW_IMAGE_WITH_METADATA = 4
_JPEG = 1

Message = tuple[str | bytes, str | None]


@dataclass
class Sockets:
    """All open sockets; `post` may be called from any thread, everything else from the loop."""

    faults: Faults
    loop: asyncio.AbstractEventLoop
    by_client: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    transports: set[asyncio.Transport] = field(default_factory=set)
    flags: dict[str, dict[str, Any]] = field(default_factory=dict)
    outbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    def post(self, kind: str, data: dict[str, Any], client_id: str | None) -> None:
        """Send a JSON message to one client, or to all without a client id."""
        self._post(json.dumps({"type": kind, "data": data}), client_id)

    def announces_metadata(self, client_id: str | None) -> bool:
        """Tell whether this client asked for preview frames with metadata."""
        flags = self.flags.get(client_id, {}) if client_id is not None else {}
        return bool(flags.get("supports_preview_metadata"))

    def is_heard(self, client_id: str | None) -> bool:
        """Tell whether anybody would receive a message to this client."""
        return bool(self.by_client) if client_id is None else client_id in self.by_client

    def post_preview(self, jpeg: bytes, metadata: dict[str, Any], client_id: str | None) -> None:
        """Send a preview frame in the form that the client announced."""
        if self.announces_metadata(client_id):
            text = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
            head = struct.pack(">II", _PREVIEW_IMAGE_WITH_METADATA, len(text)) + text
        else:
            head = struct.pack(">II", _PREVIEW_IMAGE, _JPEG)
        self._post(head + jpeg, client_id)

    def _post(self, payload: str | bytes, client_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.outbox.put_nowait, (payload, client_id))

    async def send_loop(self) -> None:
        """Send posted messages in order, for ever."""
        while True:
            payload, client_id = await self.outbox.get()
            if client_id is None:
                receivers = list(self.by_client.values())
            else:
                receivers = [self.by_client[client_id]] if client_id in self.by_client else []
            for socket in receivers:
                await self._send(socket, payload)

    async def _send(self, socket: web.WebSocketResponse, payload: str | bytes) -> None:
        if self.faults.silent:
            return
        try:
            if isinstance(payload, str):
                await socket.send_str(payload)
            else:
                await socket.send_bytes(payload)
        except (ConnectionError, RuntimeError):
            return  # its handler sees the same and forgets it

    async def handle(
        self,
        request: web.Request,
        greeting: dict[str, Any],
        running_node: tuple[str | None, str | None],
    ) -> web.WebSocketResponse:
        """Serve one connection until it closes; `running_node` is (client id, node) of the run."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query.get("clientId", "") or uuid.uuid4().hex
        transport = request.transport
        if transport is not None:
            self.transports.add(transport)
        self.by_client[client_id] = socket
        self.flags[client_id] = {}
        try:
            status = {"status": greeting, "sid": client_id}
            await self._send(socket, json.dumps({"type": "status", "data": status}))
            if running_node[0] == client_id and running_node[1] is not None:
                node = {"node": running_node[1]}
                await self._send(socket, json.dumps({"type": "executing", "data": node}))
            is_first = True
            async for message in socket:
                if is_first and message.type == WSMsgType.TEXT:
                    await self._negotiate(socket, client_id, message.data)
                is_first = False
        finally:
            if transport is not None:
                self.transports.discard(transport)
            self.by_client.pop(client_id, None)
            self.flags.pop(client_id, None)
        return socket

    async def _negotiate(self, socket: web.WebSocketResponse, client_id: str, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            return
        if isinstance(message, dict) and message.get("type") == "feature_flags":
            self.flags[client_id] = message.get("data") or {}
            await self._send(socket, json.dumps({"type": "feature_flags", "data": FEATURES}))

    def cut(self) -> None:
        """Break every connection at once, without a close frame (code 1006 at the client)."""
        for transport in list(self.transports):
            transport.abort()
