"""Find and abort incomplete multipart uploads: their parts are billed, and no listing has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from influencerai_dagster.storage.errors import (
    NOT_IMPLEMENTED,
    error_code,
    status_code,
    translated_errors,
)

if TYPE_CHECKING:
    from influencerai_dagster.storage.object_store import ObjectStore


@dataclass(frozen=True)
class IncompleteUpload:
    """A multipart upload that was begun."""

    key: str
    upload_id: str
    started_at: datetime


def incomplete_uploads(store: "ObjectStore") -> Sequence[IncompleteUpload]:
    """Return the uploads that were begun and not ended; none if the server does not list them."""
    with translated_errors("list uploads", store.bucket, ""):
        try:
            return [
                IncompleteUpload(item["Key"], item["UploadId"], item["Initiated"])
                for page in store.client.get_paginator("list_multipart_uploads").paginate(
                    Bucket=store.bucket
                )
                for item in page.get("Uploads", [])
            ]
        except ClientError as error:
            # `rclone serve s3` says NoSuchUpload while there is none.
            is_none = error_code(error) in {"NotImplemented", "NoSuchUpload"}
            if is_none or status_code(error) == NOT_IMPLEMENTED:
                return []
            raise


def abort_upload(store: "ObjectStore", upload: IncompleteUpload) -> None:
    """Abort an upload and free its parts; one that has ended meanwhile is fine."""
    with translated_errors("abort upload", store.bucket, upload.key):
        try:
            store.client.abort_multipart_upload(
                Bucket=store.bucket, Key=upload.key, UploadId=upload.upload_id
            )
        except ClientError as error:
            if error_code(error) != "NoSuchUpload":
                raise
