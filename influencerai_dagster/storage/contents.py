"""Describe objects by key, size, hash and media type; read contents in bounded memory.

An ETag is the MD5 of the content for an object of one PUT. It is not for multipart uploads (it has
a dash then), for encryption with keys of KMS or of the customer, and in directory buckets. Follows
"Object" and "Directory buckets" of the Amazon S3 documentation; the eight servers of
docs/s3-servers.md keep to it.
"""

import hashlib
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from botocore.response import StreamingBody

_CHUNK_BYTES = 1024**2
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DIRECTORY_BUCKET = "--x-s3"


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """The facts about one object that HEAD and a listing give.

    Attributes:
        etag: without its quotes; changes with the content.
        last_modified: UTC, whole seconds.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime


def object_summary(key: str, size_bytes: int, etag: str, last_modified: datetime) -> ObjectSummary:
    """Return the same value for the same object, whether its facts come from HEAD or a listing."""
    seconds = last_modified.astimezone(UTC).replace(microsecond=0)  # HEAD knows only these
    return ObjectSummary(key, size_bytes, etag.strip('"'), seconds)


def describe(key: str, data: bytes | Path) -> StoredFile:
    """Return key, size and hash that `data` will have as an object."""
    if isinstance(data, bytes):
        return StoredFile(
            object_key=key, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
        )
    with data.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(object_key=key, sha256=sha256, size_bytes=file.tell())


def has_md5(data: bytes | Path, md5: str) -> bool:
    """Whether `data` has this MD5."""
    if isinstance(data, bytes):
        return hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
    new_md5 = partial(hashlib.md5, usedforsecurity=False)
    with data.open("rb") as file:
        return hashlib.file_digest(file, new_md5).hexdigest() == md5


def content_type_of(key: str) -> str:
    """Guess the media type by the key's ending."""
    # strict=False: Python 3.11 has image/webp only among the types that IANA had not listed.
    guessed, _ = mimetypes.guess_type(key, strict=False)
    return guessed or "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Received:
    """Size and hashes of the bytes of an answer."""

    size_bytes: int
    sha256: str
    md5: str


def receive(body: "StreamingBody", write: Callable[[bytes], object]) -> Received:
    """Pass each chunk of a response to `write`; return their size and hashes."""
    sha256, md5, size_bytes = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    for chunk in body.iter_chunks(_CHUNK_BYTES):
        sha256.update(chunk)
        md5.update(chunk)
        write(chunk)
        size_bytes += len(chunk)
    return Received(size_bytes, sha256.hexdigest(), md5.hexdigest())


def known_md5(bucket: str, answer: Mapping[str, Any]) -> str | None:
    """Return the MD5 of the content by the ETag of an answer; None if the ETag is not one."""
    etag = str(answer.get("ETag", "")).strip('"').lower()
    is_encrypted = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    if is_encrypted or "SSECustomerAlgorithm" in answer or bucket.endswith(_DIRECTORY_BUCKET):
        return None
    return etag if _MD5.fullmatch(etag) else None


def lying_answer(bucket: str, key: str, found: str, expected: str) -> TransientError:
    """Return the error for an answer whose bytes differ from what the server announced."""
    return TransientError(
        f"S3 get of {key!r} in bucket {bucket!r} gave {found}, but {expected} was announced: the "
        "answer was cut or changed on the way, or the object was replaced meanwhile; try again"
    )


def not_as_named(bucket: str, stored: StoredFile, found: str, expected: str) -> PermanentError:
    """Return the error for an object that differs from its manifest."""
    return PermanentError(
        f"{stored.object_key!r} in bucket {bucket!r} is not what its manifest says: "
        f"found {found}, expected {expected}; restore the object from the backup"
    )
