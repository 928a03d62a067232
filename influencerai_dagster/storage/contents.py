"""What an object is: its key, size, hash and media type; contents are read in bounded memory."""

import hashlib
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from influencerai_dagster.domain.manifests.outputs import StoredFile
from influencerai_dagster.errors import PermanentError

if TYPE_CHECKING:
    from botocore.response import StreamingBody

_CHUNK_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What HEAD and a listing say of one object.

    Attributes:
        etag: without its quotes; changes with the content.
        last_modified: UTC, whole seconds.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime


def object_info(key: str, size_bytes: int, etag: str, last_modified: datetime) -> ObjectInfo:
    """Return the same value for the same object, whether HEAD or a listing told of it."""
    seconds = last_modified.astimezone(UTC).replace(microsecond=0)  # HEAD knows only these
    return ObjectInfo(key, size_bytes, etag.strip('"'), seconds)


def describe(key: str, data: bytes | Path) -> StoredFile:
    """Return what `data` will be once it is stored under `key`."""
    if isinstance(data, bytes):
        return StoredFile(
            object_key=key, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
        )
    with data.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(object_key=key, sha256=sha256, size_bytes=file.tell())


def content_type_of(key: str) -> str:
    """Guess the media type by the key's ending."""
    # strict=False: Python 3.11 has image/webp only among the types that IANA had not listed.
    guessed, _ = mimetypes.guess_type(key, strict=False)
    return guessed or "application/octet-stream"


def sha256_of_body(body: "StreamingBody", write: Callable[[bytes], object]) -> str:
    """Return the SHA-256 of a response, handing each chunk to `write`."""
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(_CHUNK_BYTES):
        digest.update(chunk)
        write(chunk)
    return digest.hexdigest()


def check_size(bucket: str, stored: StoredFile, size_bytes: int) -> None:
    """Raise PermanentError if an object has another size than its manifest says."""
    if size_bytes != stored.size_bytes:
        raise _not_as_named(bucket, stored, f"{size_bytes} bytes", f"{stored.size_bytes} bytes")


def check_hash(bucket: str, stored: StoredFile, sha256: str) -> None:
    """Raise PermanentError if an object has another content than its manifest says."""
    if sha256 != stored.sha256:
        raise _not_as_named(bucket, stored, f"SHA-256 {sha256}", stored.sha256)


def _not_as_named(bucket: str, stored: StoredFile, found: str, expected: str) -> PermanentError:
    return PermanentError(
        f"{stored.object_key!r} in bucket {bucket!r} is not what its manifest says: "
        f"found {found}, expected {expected}; restore the object from the backup"
    )
