"""Read and write the bucket `assets`: objects are written once, and verified when read.

What a key means lives in core/object_paths.py; uploads.py uploads a file.
Follows the Amazon S3 API reference; conditional writes (If-None-Match) are AWS's of 2024, which
some servers ignore (docs/s3-servers.md): there only the looks before and after a write protect an
object (docs/decisions/0069-one-request-writes-an-object.md).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import uuid4

from botocore.exceptions import ClientError

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import ObjectExistsError, PermanentError
from influencerai_dagster.storage.contents import (
    ObjectSummary,
    Received,
    content_type_of,
    describe,
    has_md5,
    known_md5,
    lying_answer,
    not_as_named,
    object_summary,
    receive,
)
from influencerai_dagster.storage.errors import detect_full_disk, status_code, translated_errors
from influencerai_dagster.storage.parallel import map_in_threads
from influencerai_dagster.storage.uploads import MULTIPART_THRESHOLD_BYTES, upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Item = TypeVar("Item")
Result = TypeVar("Result")

_NOT_FOUND = 404
_REPEATED_BYTES = 64 * 1024


class WriteOnceStore(Protocol):
    """What a stage needs of a bucket: ObjectStore has it, and RetryingObjectStore."""

    def put_new(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str | None = None,
        skip_exists_check: bool = False,
    ) -> StoredFile:
        """Write an object that must not exist yet; the same content there already is fine."""

    def get(self, wanted: str | ObjectSummary) -> bytes:
        """Return the bytes of an object that no manifest names."""

    def head(self, key: str) -> ObjectSummary | None:
        """Return the size and date of an object, or None if there is none."""

    def read(self, stored: StoredFile) -> bytes:
        """Return the bytes that a manifest names."""

    def download(self, key: str, path: Path, *, expected: StoredFile | None) -> None:
        """Stream an object to a file."""

    def list(self, prefix: str) -> Iterator[ObjectSummary]:
        """Yield every object below `prefix`."""


class ObjectStore:
    """One bucket. May be used by many threads at once.

    Every method raises TransientError, PermanentError or their kinds as storage/errors.py says.

    Args:
        client: from client.py, or any boto3 S3 client with its Config.
        bucket: S3_BUCKET; it must exist.
        max_workers: threads of `map`.
        disk: S3_DISK, for servers that do not say when they are full.
    """

    def __init__(
        self, client: "S3Client", bucket: str, *, max_workers: int = 8, disk: Path | None = None
    ) -> None:
        self.client = client
        self._max_workers = max_workers
        self._disk = disk
        self.bucket = bucket
        self._bucket_was_seen = False
        self._refuses_second_writer: bool | None = None  # not known yet

    def put_new(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str | None = None,
        skip_exists_check: bool = False,
    ) -> StoredFile:
        """Write an object that must not exist yet; the same content there already is fine.

        Args:
            key: from core/object_paths.py.
            data: bytes, or a file, which is streamed in bounded memory.
            content_type: None guesses by the key's ending.
            skip_exists_check: omit the looks at the object before and after the PUT. Only for
                keys that contain the caller's claim number: nobody else writes them.

        Returns:
            What was stored: pass it to `read` or put it in a manifest.

        Raises:
            PermanentError: other content is there; it was not touched.
        """
        with translated_errors("put", self.bucket, key):
            stored = describe(key, data)
        is_single = isinstance(data, bytes) or stored.size_bytes <= MULTIPART_THRESHOLD_BYTES
        is_protected = skip_exists_check or (self._refuses_second_writer is True and is_single)
        is_free = is_protected or self.head(key) is None
        if is_free and self._upload(stored, data, content_type, is_protected=is_protected):
            return stored
        self._check_same_is_there(stored)
        return stored

    def put_latest(self, key: str, data: bytes) -> StoredFile:
        """Write or overwrite an object: for pointers to the newest version, and for uploads."""
        with detect_full_disk(self._disk, len(data)), translated_errors("put", self.bucket, key):
            self.client.put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentType=content_type_of(key)
            )
        return describe(key, data)

    def get(self, wanted: str | ObjectSummary) -> bytes:
        """Return an object's bytes: for uploads and pointers that no manifest names.

        Args:
            wanted: a listed object, which must have the size and the MD5 of the listing; or
                a key, whose content must have the MD5 of the answer's ETag.

        Raises:
            TransientError: the bytes are not those that the server announced.
        """
        listed = wanted if isinstance(wanted, ObjectSummary) else None
        data = BytesIO()
        self.receive(listed.key if listed else str(wanted), data.write, listed=listed)
        return data.getvalue()

    def read(self, stored: StoredFile) -> bytes:
        """Return the bytes that a manifest names.

        Raises:
            ObjectNotFoundError: there is no such object.
            PermanentError: its size or SHA-256 is another; the text has both.
            TransientError: the bytes are not those that the server announced.
        """
        data = BytesIO()
        self.receive(stored.object_key, data.write, expected=stored)
        return data.getvalue()

    def download(self, key: str, path: Path, *, expected: StoredFile | None) -> None:
        """Stream an object to a file, which appears under its name only when it is complete.

        Args:
            key: of the object.
            path: the file; its folder must exist. A file that is there is replaced.
            expected: size and hash to check, or None for an object that no manifest names.

        Raises:
            PermanentError, TransientError: as in `read`; the file is not there then.
        """
        part = path.with_name(f".{uuid4().hex}.part")
        with translated_errors("get", self.bucket, key):
            try:
                with part.open("xb") as file:
                    self.receive(key, file.write, expected=expected)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def receive(
        self,
        key: str,
        write: Callable[[bytes], object],
        *,
        listed: ObjectSummary | None = None,
        expected: StoredFile | None = None,
    ) -> Received:
        """Stream an object to `write` in bounded memory and check it: every read comes here.

        Args:
            key: of the object.
            write: takes the chunks; those before an error must be discarded.
            listed: its entry in a listing.
            expected: size and hash in a manifest.

        Raises:
            ObjectNotFoundError, PermanentError, TransientError: as in `read`.
        """
        with translated_errors("get", self.bucket, key):
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            with closing(answer["Body"]) as body:  # unread, it would keep its connection
                self._check_size(key, answer["ContentLength"], listed, expected)
                received = receive(body, write)
        known = known_md5(self.bucket, answer)
        for md5 in {known, known and listed and known_md5(self.bucket, {"ETag": listed.etag})}:
            if md5 not in {None, received.md5}:
                raise lying_answer(self.bucket, key, f"MD5 {received.md5}", str(md5))
        if expected is not None and received.sha256 != expected.sha256:
            if known is None:
                raise lying_answer(self.bucket, key, f"SHA-256 {received.sha256}", expected.sha256)
            found = f"SHA-256 {received.sha256}"
            raise not_as_named(self.bucket, expected, found, expected.sha256)
        return received

    def head(self, key: str) -> ObjectSummary | None:
        """Return the facts about an object, or None if there is none.

        Raises:
            PermanentError: the bucket is missing, which is not the same as a missing object.
        """
        with translated_errors("head", self.bucket, key):
            try:
                found = self.client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if status_code(error) != _NOT_FOUND:
                    raise
                self._check_bucket(key)
                return None
        self._bucket_was_seen = True
        return object_summary(key, found["ContentLength"], found["ETag"], found["LastModified"])

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the prefixes one level below `prefix`, sorted, each ending in a slash."""
        with translated_errors("list", self.bucket, prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            found = (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", []))
            return sorted(found)

    def list(self, prefix: str) -> Iterator[ObjectSummary]:
        """Yield every object below `prefix`, page by page; a page that fails raises."""
        with translated_errors("list", self.bucket, prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    # s3proxy gives neither for the placeholder of an empty folder.
                    size_bytes, etag = item.get("Size", 0), item.get("ETag", "")
                    yield object_summary(item["Key"], size_bytes, etag, item["LastModified"])

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        with translated_errors("delete", self.bucket, key):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def presign_get(self, key: str, *, expires_seconds: int) -> str:
        """Return a link that anyone can read the object with until it expires; sends nothing."""
        with translated_errors("presign", self.bucket, key):
            return self.client.generate_presigned_url(
                "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=expires_seconds
            )

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` in the order of items, run by max_workers threads."""
        return map_in_threads(function, items, max_workers=self._max_workers)

    def _upload(
        self,
        stored: StoredFile,
        data: bytes | Path,
        content_type: str | None,
        *,
        is_protected: bool,
    ) -> bool:
        """Write an object; False if another writer was or may have been first.

        Args:
            is_protected: no other writer can replace the object, so the answer to the PUT is enough
                where it has the MD5 of the content.
        """
        key, media_type = stored.object_key, content_type or content_type_of(stored.object_key)
        full = detect_full_disk(self._disk, stored.size_bytes)
        send = partial(upload, self.client, self.bucket, key, data, media_type)
        try:
            with full, translated_errors("put", self.bucket, key):
                answer = send()
        except ObjectExistsError:
            return False
        md5 = known_md5(self.bucket, answer)
        if md5 is not None:
            if not has_md5(data, md5):
                return False
            if is_protected or self._refuses_repeated(stored, data, send):
                return True
        info = self.head(key)
        if info is None or info.size_bytes != stored.size_bytes:
            return False
        return "ETag" not in answer or answer["ETag"].strip('"') == info.etag

    def _refuses_repeated(
        self, stored: StoredFile, data: bytes | Path, send: Callable[[], object]
    ) -> bool:
        """Return whether the server refuses to replace the small object that was just written.

        Asked once: the same bytes are sent again, which changes nothing if it does not refuse.
        """
        is_small = isinstance(data, bytes) and len(data) <= _REPEATED_BYTES
        if self._refuses_second_writer is not None or not is_small:
            return False
        try:
            with translated_errors("put", self.bucket, stored.object_key):
                send()
            self._refuses_second_writer = False
        except ObjectExistsError:
            self._refuses_second_writer = True
        return self._refuses_second_writer

    def _check_same_is_there(self, stored: StoredFile) -> None:
        """Check that the object that is there has the content that was to be stored."""
        key = stored.object_key
        info = self.head(key)
        is_same_size = info is not None and info.size_bytes == stored.size_bytes
        if is_same_size and self.receive(key, len, listed=info).sha256 == stored.sha256:
            return
        found = "nothing" if info is None else f"other content ({info.size_bytes} bytes)"
        raise PermanentError(
            f"{key!r} in bucket {self.bucket!r} is written once: {stored.size_bytes} bytes with "
            f"SHA-256 {stored.sha256} belong there, but {found} is there and was left as it is; "
            "find out who wrote it"
        )

    def _check_size(
        self, key: str, size_bytes: int, listed: ObjectSummary | None, expected: StoredFile | None
    ) -> None:
        """Compare the size of an answer with the recorded one, before a byte is read."""
        found = f"{size_bytes} bytes"
        if listed is not None and size_bytes != listed.size_bytes:
            raise lying_answer(self.bucket, key, found, f"{listed.size_bytes} bytes")
        if expected is None or size_bytes == expected.size_bytes:
            return
        info = self.head(key)
        if info is not None and info.size_bytes == size_bytes:
            raise not_as_named(self.bucket, expected, found, f"{expected.size_bytes} bytes")
        raise lying_answer(self.bucket, key, found, f"{expected.size_bytes} bytes")

    def _check_bucket(self, key: str) -> None:
        """Raise if the bucket is missing: HEAD answers 404 for a missing bucket and object alike.

        A listing is asked, because its answer has a body and with it a code: versitygw answers a
        HEAD of the bucket with 404 also if the access key is unknown.
        """
        if self._bucket_was_seen:
            return
        self.client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
        self._bucket_was_seen = True
