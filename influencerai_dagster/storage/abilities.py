"""Find out what an S3 server supports beyond what every server must, and what follows from it.

Tried on the server itself, since servers accept options that they ignore. docs/s3-servers.md has
the answers of many servers. Follows "Conditional requests" and "Checking object integrity" of the
Amazon S3 user guide.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from uuid import uuid4

from botocore.exceptions import ClientError

from influencerai_dagster.core.object_paths import access_check_key
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.storage.errors import translated_errors
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.storage.uploads import REFUSED_TO_OVERWRITE

_DATA = b"influencerai asks what this server can"
_WRONG_CRC32 = "AAAAAA=="


@dataclass(frozen=True)
class Abilities:
    """What a server supports.

    Attributes:
        refuses_second_writer: it honours If-None-Match.
        checks_checksums: it refuses an upload whose CRC32 is another than was sent with it.
        etag_is_md5: of an object of one PUT.
    """

    refuses_second_writer: bool
    checks_checksums: bool
    etag_is_md5: bool

    def consequences(self) -> Sequence[str]:
        """Return a line for each ability: what the server does, and what follows."""
        return [
            "conditional writes: of two writers of one key at the same moment one is refused, and "
            "a write takes one request"
            if self.refuses_second_writer
            else "no conditional writes (If-None-Match is ignored): of two writers of one key at "
            "the same moment the later one wins",
            "checksums: with S3_CHECKSUM_MODE=when_supported an upload that changed on the way is "
            "refused"
            if self.checks_checksums
            else "checksums are ignored or refused: leave S3_CHECKSUM_MODE=when_required",
            "ETags are MD5 sums: every answer is checked by size and content"
            if self.etag_is_md5
            else "ETags are no MD5 sums: what no manifest names is checked by its size alone",
        ]


def ask_abilities(store: ObjectStore) -> Abilities:
    """Write scratch objects, see how the server treats them, and remove them.

    Raises:
        TransientError, PermanentError: the server cannot be used at all, see access.py.
    """
    keys = [access_check_key(uuid4()) for _ in range(2)]
    with translated_errors("put", store.bucket, keys[0]):
        try:
            stored = store.client.put_object(Bucket=store.bucket, Key=keys[0], Body=_DATA)
            return Abilities(
                refuses_second_writer=_refuses_second_writer(store, keys[0]),
                checks_checksums=_checks_checksums(store, keys[1]),
                etag_is_md5=stored["ETag"].strip('"').lower()
                == md5(_DATA, usedforsecurity=False).hexdigest(),
            )
        finally:
            for key in keys:
                with suppress(InfluencerAIError):
                    store.delete(key)


def other_address_style(store: ObjectStore, other: ObjectStore, *, is_path_style: bool) -> str:
    """Return which addresses of the bucket the server answers.

    Args:
        store: with the addresses that the settings choose, which work.
        other: the same bucket with the other ones.
        is_path_style: S3_FORCE_PATH_STYLE.
    """
    try:
        with translated_errors("list", other.bucket, ""):
            other.client.list_objects_v2(Bucket=store.bucket, Prefix=access_check_key(uuid4()))
    except InfluencerAIError:
        style = "the path" if is_path_style else "the host name"
        return (
            f"the bucket is reached by {style} only: leave S3_FORCE_PATH_STYLE="
            f"{str(is_path_style).lower()}"
        )
    return "the bucket is reached by path and by host name: any S3_FORCE_PATH_STYLE works"


def _refuses_second_writer(store: ObjectStore, key: str) -> bool:
    try:
        store.client.put_object(Bucket=store.bucket, Key=key, Body=b"second", IfNoneMatch="*")
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] in REFUSED_TO_OVERWRITE
    return False


def _checks_checksums(store: ObjectStore, key: str) -> bool:
    put = partial(store.client.put_object, Bucket=store.bucket, Key=key, Body=_DATA)
    try:
        put(ChecksumAlgorithm="CRC32")
    except ClientError:
        return False
    try:
        put(ChecksumCRC32=_WRONG_CRC32)
    except ClientError:
        return True
    return False
