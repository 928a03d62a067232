"""Upload one object if its key is free: in a single PUT, or in parts if it is big.

boto3's own transfer manager cannot make an upload conditional (s3transfer 0.19 refuses
IfNoneMatch), and immutable LoRA files are the ones that need it. Policy (what may be overwritten,
what is verified) lives in object_store.py.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from botocore.exceptions import ClientError

from influencerai_dagster.errors import ObjectExistsError
from influencerai_dagster.storage.errors import NOT_IMPLEMENTED, status_code
from influencerai_dagster.storage.parallel import map_in_threads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

MULTIPART_THRESHOLD_BYTES = 32 * 1024**2
_PART_BYTES = 8 * 1024**2
_MAX_PARTS = 10_000  # a limit of S3
_PART_WORKERS = 4  # × _PART_BYTES is the memory of one upload
REFUSED_TO_OVERWRITE = {304, 412}
"""412 is S3's answer to If-None-Match; S3Mock answers 304 where parts are put together."""


class _Condition(TypedDict, total=False):
    IfNoneMatch: str


class _Checksum(TypedDict, total=False):
    ChecksumAlgorithm: Literal["CRC32"]


def upload(
    client: "S3Client", bucket: str, key: str, data: bytes | Path, content_type: str
) -> Mapping[str, Any]:
    """Upload under If-None-Match, or without where the server does not know conditional writes.

    Returns:
        The server's answer to a single PUT, which has the ETag; empty after a multipart upload,
        whose ETag not every server keeps.

    Raises:
        ObjectExistsError: an object is there already.
        ClientError: every other failure, for `translated_errors`.
    """
    send = partial(_send, client, bucket, key, data, content_type)
    try:
        return send(condition={"IfNoneMatch": "*"})
    except ClientError as error:
        if status_code(error) in REFUSED_TO_OVERWRITE:
            raise ObjectExistsError(f"{key!r} is in bucket {bucket!r} already") from error
        if status_code(error) != NOT_IMPLEMENTED:
            raise
        return send(condition={})


def _send(
    client: "S3Client",
    bucket: str,
    key: str,
    data: bytes | Path,
    content_type: str,
    *,
    condition: _Condition,
) -> Mapping[str, Any]:
    put = partial(client.put_object, Bucket=bucket, Key=key, ContentType=content_type, **condition)
    if isinstance(data, bytes):
        return put(Body=data)
    if data.stat().st_size > MULTIPART_THRESHOLD_BYTES:
        _send_parts(client, bucket, key, data, content_type, condition=condition)
        return {}
    with data.open("rb") as file:
        return put(Body=file)


def _send_parts(
    client: "S3Client",
    bucket: str,
    key: str,
    path: Path,
    content_type: str,
    *,
    condition: _Condition,
) -> None:
    size_bytes = path.stat().st_size
    part_bytes = max(_PART_BYTES, -(-size_bytes // _MAX_PARTS))
    checksum: _Checksum = {}
    mode = client.meta.config.request_checksum_calculation  # type: ignore[attr-defined] # not in the stubs
    if mode == "when_supported":
        # boto3 then sends a CRC32 with each part, which AWS takes only if the upload announced it.
        checksum = {"ChecksumAlgorithm": "CRC32"}
    upload_id = client.create_multipart_upload(
        Bucket=bucket, Key=key, ContentType=content_type, **checksum
    )["UploadId"]

    def send_part(number: int) -> "CompletedPartTypeDef":
        with path.open("rb") as file:
            file.seek((number - 1) * part_bytes)
            body = file.read(part_bytes)
        part = client.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body
        )
        done: CompletedPartTypeDef = {"PartNumber": number, "ETag": part["ETag"]}
        if "ChecksumCRC32" in part:
            done["ChecksumCRC32"] = part["ChecksumCRC32"]
        return done

    numbers: Iterator[int] = iter(range(1, -(-size_bytes // part_bytes) + 1))
    try:
        parts = list(map_in_threads(send_part, numbers, max_workers=_PART_WORKERS))
        client.complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
            **condition,
        )
    except BaseException:
        # Parts that nobody completes would stay and be billed.
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise
