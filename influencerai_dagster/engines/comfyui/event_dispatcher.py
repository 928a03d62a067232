"""Dispatch the events of a server's one WebSocket to the runs that they are about.

A socket for each run costs a handshake and a thread, which is more than a short render takes.
ComfyUI sends the events of a prompt only to the client id that submitted it, so all runs submit
under the dispatcher's. waiting.py decides what an event means for its run.
"""

import queue
import threading
from collections.abc import Callable
from typing import Self

from influencerai_dagster.engines.comfyui.http import HttpConnection
from influencerai_dagster.engines.comfyui.progress_socket import (
    NodeProgress,
    PreviewImage,
    ProgressSocket,
    QueueChanged,
    Recheck,
    RunEnded,
    ServerEvent,
    ServerLost,
    UnknownEvent,
)
from influencerai_dagster.errors import TransientError

_IDLE_SECONDS = 1.0


class Subscription:
    """The events of one prompt.

    Attributes:
        client_id: what to submit the prompt with.
        hears_status: every QueueChanged comes too, because no other event of the prompt does.
    """

    def __init__(
        self, dispatcher: "EventDispatcher", prompt_id: str, client_id: str, *, hears_status: bool
    ) -> None:
        self.client_id = client_id
        self.prompt_id = prompt_id
        self.hears_status = hears_status
        self._dispatcher = dispatcher
        self._events: queue.SimpleQueue[ServerEvent | TransientError] = queue.SimpleQueue()

    def put(self, event: "ServerEvent | TransientError") -> None:
        """Add an event, or the end of the socket."""
        self._events.put(event)

    def receive(self, timeout_seconds: float) -> ServerEvent | None:
        """Return the next event, or None if none came in time; TransientError: the socket broke."""
        try:
            event = self._events.get(timeout=max(timeout_seconds, 0.0))
        except queue.Empty:
            return None
        if isinstance(event, TransientError):
            raise event
        return event

    def close(self) -> None:
        """End it; no further event comes."""
        self._dispatcher.forget(self)


class EventDispatcher:
    """Reads one socket and gives each event to its subscription; safe between threads.

    Args:
        connection: to the server.
        on_lost: called when the socket ended, as it does when the server restarts.
    """

    def __init__(
        self, connection: HttpConnection, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._subscriptions: dict[str, Subscription] = {}
        self._socket: ProgressSocket | None = None
        self._reader: threading.Thread | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subscribe(self, prompt_id: str, *, hears_status: bool) -> Subscription:
        """Receive the events of a prompt from now on; opens the socket if there is none.

        Args:
            prompt_id: the prompt.
            hears_status: another client id submitted it, so that only `status` comes.

        Raises:
            TransientError: the server is away.
        """
        with self._lock:
            if self._socket is None:
                self._socket = ProgressSocket(self._connection)
                name = f"events of {self._connection.url}"
                self._reader = threading.Thread(
                    target=self._read, args=(self._socket,), name=name, daemon=True
                )
                self._reader.start()
            subscription = Subscription(
                self, prompt_id, self._socket.client_id, hears_status=hears_status
            )
            self._subscriptions[prompt_id] = subscription
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._lock:
            if self._subscriptions.get(subscription.prompt_id) is subscription:
                del self._subscriptions[subscription.prompt_id]

    def recheck(self, prompt_id: str) -> None:
        """Let the run of a prompt read history and queue at once."""
        with self._lock:
            subscription = self._subscriptions.get(prompt_id)
        if subscription is not None:
            subscription.put(Recheck())

    def abandon(self, reason: str) -> None:
        """End the wait of every run of this server that has not begun, for this reason."""
        with self._lock:
            subscriptions = list(self._subscriptions.values())
        for subscription in subscriptions:
            subscription.put(ServerLost(reason))

    def close(self) -> None:
        """Close the socket; runs that still wait get its end as an error."""
        with self._lock:
            self._is_closed, socket = True, self._socket
        if socket is not None:
            socket.close()
        if self._reader is not None:
            self._reader.join()

    def _read(self, socket: ProgressSocket) -> None:
        try:
            while not self._is_closed:
                event = socket.receive(_IDLE_SECONDS)
                if event is not None:
                    self._dispatch(event)
            ended = TransientError(f"the progress socket of {self._connection.url} was closed")
        except TransientError as error:
            ended = error
        except Exception as error:  # noqa: BLE001 - a message that cannot be read ends the socket
            ended = TransientError(f"an event of {self._connection.url} cannot be read: {error}")
        socket.close()
        with self._lock:
            if self._socket is socket:
                self._socket = None
            is_closed = self._is_closed
            subscriptions = list(self._subscriptions.values())
        for subscription in subscriptions:
            if subscription.client_id == socket.client_id:
                subscription.put(ended)
        if not is_closed:
            self._on_lost()

    def _dispatch(self, event: ServerEvent) -> None:
        match event:
            case NodeProgress() | PreviewImage() | RunEnded() | UnknownEvent():
                with self._lock:
                    subscription = self._subscriptions.get(event.prompt_id)
                if subscription is not None:
                    subscription.put(event)
            case QueueChanged():
                # The others would read history at each of them, though their own events come.
                with self._lock:
                    listeners = list(self._subscriptions.values())
                for subscription in listeners:
                    if subscription.hears_status:
                        subscription.put(event)
