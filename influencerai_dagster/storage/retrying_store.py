"""Waiting for a server that is away for a moment, where starting over would cost hours of GPU."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from influencerai_dagster.core.stored_file import (
    StoredFile,
)
from influencerai_dagster.errors import InsufficientStorageError
from influencerai_dagster.retry import retry_transient
from influencerai_dagster.storage.contents import ObjectInfo
from influencerai_dagster.storage.object_store import ObjectStore

Result = TypeVar("Result")


class RetryingObjectStore(ObjectStore):
    """The same bucket for those who hold a finished render: they wait while S3 is away.

    Args:
        store: the bucket.
        stopping: set it to end all waiting; the error of the last try is raised.
        on_full: called each time that there is no space.
    """

    def __init__(
        self,
        store: ObjectStore,
        stopping: threading.Event,
        on_full: Callable[[InsufficientStorageError], object] = lambda _: None,
    ) -> None:
        super().__init__(store.client, store.bucket)
        # One patience, and one way to end it.
        self.unwrapped: ObjectStore = (
            store.unwrapped if isinstance(store, RetryingObjectStore) else store
        )
        self._stopping = stopping
        self._on_full = on_full

    def put_new(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str | None = None,
        is_own_key: bool = False,
    ) -> StoredFile:
        """Write an object, see ObjectStore."""
        put = self.unwrapped.put_new
        return self._wait(lambda: put(key, data, content_type=content_type, is_own_key=is_own_key))

    def get(self, wanted: str | ObjectInfo) -> bytes:
        """Return an object's bytes, see ObjectStore."""
        return self._wait(lambda: self.unwrapped.get(wanted))

    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, see ObjectStore."""
        return self._wait(lambda: self.unwrapped.head(key))

    def read(self, stored: StoredFile) -> bytes:
        """Return the bytes that a manifest names, see ObjectStore."""
        return self._wait(lambda: self.unwrapped.read(stored))

    def download(self, key: str, path: Path, *, expected: StoredFile | None) -> None:
        """Stream an object to a file, see ObjectStore."""
        self._wait(lambda: self.unwrapped.download(key, path, expected=expected))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below `prefix`, see ObjectStore."""
        yield from self._wait(lambda: [*self.unwrapped.list(prefix)])

    def _wait(self, function: Callable[[], Result]) -> Result:
        return retry_transient(function, sleep=self._stopping.wait, on_full=self._on_full)
