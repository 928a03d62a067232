"""S3 for ops and IO managers: dagster-aws's resource with our client settings."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg
from dagster_aws.s3 import S3Resource

from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client  # stubs: only the extra `dev` has them


class PathStyleS3Resource(S3Resource):
    """dagster-aws's S3Resource, which has no setting for path style and checksum mode."""

    force_path_style: bool = True
    checksum_mode: Literal["when_required", "when_supported"] = "when_required"

    def get_client(self) -> "S3Client":
        """Return a boto3 client with time limits, retries, path style and checksum mode set."""
        return make_s3_client(
            endpoint_url=self.endpoint_url,
            access_key=self.aws_access_key_id or "",
            secret_key=self.aws_secret_access_key or "",
            region=self.region_name or "us-east-1",
            path_style=self.force_path_style,
            checksum_mode=self.checksum_mode,
        )


class ObjectStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The bucket of assets.

    Attributes:
        s3: how the bucket is reached.
        bucket: S3_BUCKET.
        disk: S3_DISK.
    """

    s3: PathStyleS3Resource
    bucket: str
    disk: str | None = None

    @cached_property
    def store(self) -> ObjectStore:
        """The object store."""
        disk = Path(self.disk) if self.disk else None
        return ObjectStore(self.s3.get_client(), self.bucket, disk=disk)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the connections: every tick of a sensor makes a resource of its own."""
        if "store" in self.__dict__:
            self.store.client.close()
