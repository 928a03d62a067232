"""Turn the errors of boto3 and of full disks into ours, with operation and key in the text.

Follows "Error responses" of the Amazon S3 API reference; codes with XMinio are MinIO's own
(cmd/api-errors.go). A HEAD answer has no body, so its code is only the HTTP status.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as ConnectionFailedError

from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    ObjectNotFoundError,
    PermanentError,
    TransientError,
)

_NO_SPACE_CODES = {
    "507",
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
}
_NO_SPACE_WORDS = ("no space left", "disk full", "storage full", "quota exceeded")
_DENIED_CODES = {
    "401",
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",  # versitygw, HTTP 404: the access key is unknown
}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired"}
_NOT_FOUND_CODES = {"404", "NoSuchKey"}
_FOLDER_CODES = {
    "ExistingObjectIsDirectory",
    "ObjectParentIsFile",
    "XMinioObjectExistsAsDirectory",
    "XMinioParentIsObject",
}
"""Of servers that keep keys as paths of a file system: "a" and "a/b" cannot both be objects."""
_TRANSIENT_CODES = {
    "ConditionalRequestConflict",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
}
_TRANSIENT_STATUSES = {408, 425, 429}
_SERVER_ERRORS = 500
NOT_IMPLEMENTED = 501
_INSUFFICIENT_STORAGE = 507
_CONNECTION_ERRORS = (
    ConnectionFailedError,
    HTTPClientError,
    IncompleteReadError,
    FlexibleChecksumError,
)
_CREDENTIALS_ERRORS = (NoCredentialsError, PartialCredentialsError)

_MARGIN_BYTES = 1024**2
"""For other files that are written at the same time, and for the file system itself."""


@dataclass(frozen=True)
class StoreSettings:
    """Names of a store's settings, for the advice in its errors."""

    bucket: str = "S3_BUCKET"
    key: str = "S3_KEY"
    secret: str = "S3_SECRET"  # noqa: S105 - the name of a setting
    endpoint: str = "S3_ENDPOINT"


ASSETS = StoreSettings()


@contextmanager
def translated_errors(
    operation: str, bucket: str, key: str, settings: StoreSettings = ASSETS
) -> Iterator[None]:
    """Raise our errors for those of boto3 and of the local disk that the block lets out.

    Args:
        operation: what is being done, for the text: "put", "get", "list".
        bucket: for the text.
        key: object key, or the prefix of a listing.
        settings: of the store.

    Raises:
        ObjectNotFoundError: no such key.
        InsufficientStorageError: the store or the local disk is full.
        TransientError: time limits, connections, 5xx and throttling; boto3's retries are used up.
        PermanentError: denied, no such bucket, and all that stays until someone changes something.
    """
    what = f"S3 {operation} of {key!r} in bucket {bucket!r}"
    try:
        yield
    except ClientError as error:
        raise client_error(error, what, bucket, settings) from error
    except _CONNECTION_ERRORS as error:
        raise TransientError(
            f"{what} failed on the way: {error}; check that {settings.endpoint} answers"
        ) from error
    except _CREDENTIALS_ERRORS as error:
        raise PermanentError(
            f"{what}: {error}; set {settings.key} and {settings.secret}"
        ) from error
    except BotoCoreError as error:
        raise PermanentError(f"{what} cannot be asked for: {error}") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise InsufficientStorageError(
                f"{what}: the local disk is full ({error}); free space and try again"
            ) from error
        if isinstance(error, ConnectionError | TimeoutError):
            raise TransientError(f"{what} failed on the way: {error}") from error
        raise PermanentError(f"{what}: the local file cannot be used: {error}") from error


@contextmanager
def detect_full_disk(disk: Path | None, size_bytes: int) -> Iterator[None]:
    """Raise InsufficientStorageError if an upload of the block fails and the disk has no space.

    For servers on this machine that do not say so: `rclone serve s3` answers InternalError, like
    for any fault of its own (measured, 1.75.2).

    Args:
        disk: a folder on the disk of the object store (S3_DISK); None checks nothing.
        size_bytes: of what is uploaded.
    """
    try:
        yield
    except InsufficientStorageError:
        raise
    except TransientError as error:
        if disk is None:
            raise
        free_bytes = shutil.disk_usage(disk).free
        if free_bytes >= size_bytes + _MARGIN_BYTES:
            raise
        raise InsufficientStorageError(
            f"{error}. Its disk is full: {free_bytes:,} bytes are free at {disk} and "
            f"{size_bytes:,} were needed; free space on the object store and try again"
        ) from error


def client_error(
    error: ClientError, what: str, bucket: str, settings: StoreSettings = ASSETS
) -> InfluencerAIError:
    """Choose our error for an answer of the server; `what` begins its text."""
    code = error_code(error)
    status = status_code(error)
    message = error.response.get("Error", {}).get("Message", "")
    is_full = any(word in message.lower() for word in _NO_SPACE_WORDS)
    rules: tuple[tuple[bool, type[InfluencerAIError], str], ...] = (
        (
            code in _NO_SPACE_CODES or status == _INSUFFICIENT_STORAGE or is_full,
            InsufficientStorageError,
            "free space on the object store and try again",
        ),
        (
            code == "NoSuchBucket",
            PermanentError,
            f"create the bucket {bucket!r} or set {settings.bucket} to one that exists",
        ),
        (
            code in _NOT_FOUND_CODES,
            ObjectNotFoundError,
            "the object was never written, or was removed since",
        ),
        (
            code in _CLOCK_CODES,
            PermanentError,
            "set the clock of this machine (S3 allows 15 minutes)",
        ),
        (
            code in _DENIED_CODES,
            PermanentError,
            f"check {settings.key} and {settings.secret}, and that they may read, write, list and "
            "delete",
        ),
        (
            code in _FOLDER_CODES,
            PermanentError,
            "this server cannot keep an object and a folder of the same name: rename or delete "
            "one of them",
        ),
        (
            status == NOT_IMPLEMENTED,
            PermanentError,
            "the server does not have what was asked of it; most often checksums: set "
            "S3_CHECKSUM_MODE=when_required",
        ),
        (
            status >= _SERVER_ERRORS,
            TransientError,
            "read the log of the object store (a full disk can cause this)",
        ),
        (
            code in _TRANSIENT_CODES or status in _TRANSIENT_STATUSES,
            TransientError,
            "try again later",
        ),
    )
    default = (PermanentError, "see what the code means in the S3 API reference")
    kind, advice = next(((kind, text) for applies, kind, text in rules if applies), default)
    return kind(f"{what} failed: {code} (HTTP {status}) {message}".rstrip() + f"; {advice}")


def error_code(error: ClientError) -> str:
    """Return the S3 error code, or the HTTP status as text where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def status_code(error: ClientError) -> int:
    """Return the HTTP status of the answer, 0 if unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
