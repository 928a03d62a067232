"""Read objects for a verification: from the bucket, or from a folder they were restored to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from influencerai_dagster.errors import ObjectNotFoundError
from influencerai_dagster.storage.contents import describe
from influencerai_dagster.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class Digest:
    """Size and hash of the bytes that were read."""

    size_bytes: int
    sha256: str


class Contents(Protocol):
    """Objects that many threads can read at once."""

    def digest(self, key: str) -> Digest | None:
        """Read all bytes of an object; None if it does not exist."""

    def read(self, key: str) -> bytes:
        """Return a small object."""


@dataclass(frozen=True)
class BucketContents:
    """The objects of a bucket."""

    store: ObjectStore

    def digest(self, key: str) -> Digest | None:
        """Stream the object in bounded memory."""
        try:
            received = self.store.receive(key, len)
        except ObjectNotFoundError:
            return None
        return Digest(received.size_bytes, received.sha256)

    def read(self, key: str) -> bytes:
        """Return its bytes."""
        return self.store.get(key)


@dataclass(frozen=True)
class FolderContents:
    """The objects below a folder; a key is a path."""

    root_dir: Path

    def digest(self, key: str) -> Digest | None:
        """Read the file in bounded memory."""
        try:
            stored = describe(key, self.root_dir / key)
        except FileNotFoundError:
            return None
        return Digest(stored.size_bytes, stored.sha256)

    def read(self, key: str) -> bytes:
        """Return its bytes."""
        return (self.root_dir / key).read_bytes()
