"""Retry the reads and writes of a finished render while S3 is away or full."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import InsufficientStorageError
from influencerai_dagster.retry import LONGEST_PAUSE_SECONDS, retry_transient
from influencerai_dagster.storage.contents import ObjectSummary
from influencerai_dagster.storage.object_store import ObjectStore

Result = TypeVar("Result")


class RetryingObjectStore:
    """A bucket whose every operation is retried; it has those of WriteOnceStore and no others.

    Args:
        store: the bucket.
        stopping: set it to abort all retries; the error of the last attempt is raised.
        on_full: called with each InsufficientStorageError.
        longest_pause_seconds: between two attempts.
    """

    def __init__(
        self,
        store: ObjectStore,
        stopping: threading.Event,
        on_full: Callable[[InsufficientStorageError], object] = lambda _: None,
        *,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._store = store
        self._stopping = stopping
        self._on_full = on_full
        self._longest_pause_seconds = longest_pause_seconds

    def put_new(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str | None = None,
        skip_exists_check: bool = False,
    ) -> StoredFile:
        """Write an object, see ObjectStore."""
        put = self._store.put_new
        return self._retry(
            lambda: put(key, data, content_type=content_type, skip_exists_check=skip_exists_check)
        )

    def get(self, wanted: str | ObjectSummary) -> bytes:
        """Return an object's bytes, see ObjectStore."""
        return self._retry(lambda: self._store.get(wanted))

    def head(self, key: str) -> ObjectSummary | None:
        """Return the size and date of an object, see ObjectStore."""
        return self._retry(lambda: self._store.head(key))

    def read(self, stored: StoredFile) -> bytes:
        """Return the bytes that a manifest names, see ObjectStore."""
        return self._retry(lambda: self._store.read(stored))

    def download(self, key: str, path: Path, *, expected: StoredFile | None) -> None:
        """Stream an object to a file, see ObjectStore."""
        self._retry(lambda: self._store.download(key, path, expected=expected))

    def list(self, prefix: str) -> Iterator[ObjectSummary]:
        """Yield every object below `prefix`, see ObjectStore; a retry begins the listing again."""
        yield from self._retry(lambda: [*self._store.list(prefix)])

    def _retry(self, function: Callable[[], Result]) -> Result:
        return retry_transient(
            function,
            longest_pause_seconds=self._longest_pause_seconds,
            sleep=self._stopping.wait,
            on_full=self._on_full,
        )
