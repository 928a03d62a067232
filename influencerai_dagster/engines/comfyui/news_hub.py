"""One progress socket of a server for all runs of this process, each of which hears its own news.

A socket for each run costs a handshake and a thread, which is more than a short render takes.
ComfyUI sends news of a prompt only to the client id that submitted it, so runs submit under the
hub's. What follows from the news is drawn in waiting.py.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Self

from influencerai_dagster.engines.comfyui.http import HttpConnection
from influencerai_dagster.engines.comfyui.progress_socket import (
    Abandoned,
    LookNow,
    News,
    NodeProgress,
    OtherNews,
    PreviewImage,
    ProgressSocket,
    QueueChanged,
    RunEnded,
)
from influencerai_dagster.errors import TransientError

_IDLE_SECONDS = 1.0


class Subscription:
    """The news of one prompt; takes the place of a socket of its own.

    Attributes:
        client_id: what to submit the prompt with.
        is_bystander: another client id submitted it, so that only `status` tells of it.
    """

    def __init__(
        self, hub: "NewsHub", prompt_id: str, client_id: str, *, is_bystander: bool
    ) -> None:
        self.client_id = client_id
        self.prompt_id = prompt_id
        self.is_bystander = is_bystander
        self._hub = hub
        self._news: queue.SimpleQueue[News | TransientError] = queue.SimpleQueue()

    def put(self, news: "News | TransientError") -> None:
        """Hand over news, or the end of the socket."""
        self._news.put(news)

    def receive(self, timeout_seconds: float) -> News | None:
        """Return the next news, or None if none came in time; TransientError: the socket broke."""
        try:
            news = self._news.get(timeout=max(timeout_seconds, 0.0))
        except queue.Empty:
            return None
        if isinstance(news, TransientError):
            raise news
        return news

    def close(self) -> None:
        """Hear no more."""
        self._hub.forget(self)


class NewsHub:
    """Hands the messages of one socket to the runs that they are about; safe between threads.

    Args:
        connection: to the server.
        on_lost: called when the socket ended, as it does when the server is restarted.
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

    def subscribe(self, prompt_id: str, *, is_bystander: bool) -> Subscription:
        """Hear of a prompt from now on; opens the socket if there is none.

        Raises:
            TransientError: the server is away.
        """
        with self._lock:
            if self._socket is None:
                self._socket = ProgressSocket(self._connection)
                name = f"news of {self._connection.url}"
                self._reader = threading.Thread(
                    target=self._read, args=(self._socket,), name=name, daemon=True
                )
                self._reader.start()
            subscription = Subscription(
                self, prompt_id, self._socket.client_id, is_bystander=is_bystander
            )
            self._subscriptions[prompt_id] = subscription
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._lock:
            if self._subscriptions.get(subscription.prompt_id) is subscription:
                del self._subscriptions[subscription.prompt_id]

    def look_now(self, prompt_id: str) -> None:
        """Let the run of a prompt look at history and queue at once."""
        with self._lock:
            subscription = self._subscriptions.get(prompt_id)
        if subscription is not None:
            subscription.put(LookNow())

    def abandon(self, reason: str) -> None:
        """Let every run of this server that has not begun give up, for this reason."""
        with self._lock:
            subscriptions = list(self._subscriptions.values())
        for subscription in subscriptions:
            subscription.put(Abandoned(reason))

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
                news = socket.receive(_IDLE_SECONDS)
                if news is not None:
                    self._hand_over(news)
            ended = TransientError(f"the progress socket of {self._connection.url} was closed")
        except TransientError as error:
            ended = error
        except Exception as error:  # noqa: BLE001 - a message that cannot be read ends the socket
            ended = TransientError(f"the news of {self._connection.url} cannot be read: {error}")
        socket.close()
        with self._lock:
            if self._socket is socket:
                self._socket = None
            is_closed = self._is_closed
            left: Mapping[str, Subscription] = dict(self._subscriptions)
        for subscription in left.values():
            if subscription.client_id == socket.client_id:
                subscription.put(ended)
        if not is_closed:
            self._on_lost()

    def _hand_over(self, news: News) -> None:
        match news:
            case NodeProgress() | PreviewImage() | RunEnded() | OtherNews():
                with self._lock:
                    subscription = self._subscriptions.get(news.prompt_id)
                if subscription is not None:
                    subscription.put(news)
            case QueueChanged():
                # Only those whose prompt another client id submitted hear nothing better.
                with self._lock:
                    listeners = list(self._subscriptions.values())
                for subscription in listeners:
                    if subscription.is_bystander:
                        subscription.put(news)
