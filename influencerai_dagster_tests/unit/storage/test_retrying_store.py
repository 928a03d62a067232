"""A bucket whose every operation is retried: none gets past the retries."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore, WriteOnceStore
from influencerai_dagster.storage.retrying_store import RetryingObjectStore

STORED = StoredFile(object_key="images/a.png", sha256="0" * 64, size_bytes=1)
OPERATIONS: dict[str, Callable[[WriteOnceStore], object]] = {
    "put_new": lambda store: store.put_new("images/a.png", b"a"),
    "get": lambda store: store.get("images/a.png"),
    "head": lambda store: store.head("images/a.png"),
    "read": lambda store: store.read(STORED),
    "download": lambda store: store.download("images/a.png", Path("a.png"), expected=STORED),
    "list": lambda store: list(store.list("images/")),
}


class Failing:
    """A bucket that fails once with an error, whatever it is asked."""

    def __init__(self, error: Exception) -> None:
        self.asked: list[str] = []
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*_: object, **__: object) -> list[str]:
            self.asked.append(name)
            if len(self.asked) == 1:
                raise self._error
            return []

        return answer


def retrying(store: Failing, stopping: threading.Event | None = None) -> WriteOnceStore:
    return RetryingObjectStore(
        cast("ObjectStore", store), stopping or threading.Event(), longest_pause_seconds=0.01
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_tried_again_after_a_passing_failure(name: str) -> None:
    store = Failing(TransientError("S3 is away"))
    OPERATIONS[name](retrying(store))
    assert store.asked == [name, name]


def test_every_operation_of_the_store_is_retried() -> None:
    public = {name for name in vars(RetryingObjectStore) if not name.startswith("_")}
    assert public == set(OPERATIONS)


def test_a_permanent_failure_is_not_tried_again() -> None:
    store = Failing(PermanentError("access denied"))
    with pytest.raises(PermanentError):
        retrying(store).get("images/a.png")
    assert store.asked == ["get"]


def test_a_worker_that_stops_gets_the_error_of_the_last_attempt() -> None:
    store, stopping = Failing(TransientError("S3 is away")), threading.Event()
    stopping.set()
    with pytest.raises(TransientError, match="S3 is away"):
        retrying(store, stopping).get("images/a.png")
    assert store.asked == ["get"]
