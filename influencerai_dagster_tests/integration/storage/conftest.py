"""The store's tests run on every S3 server that there is."""

from collections.abc import Callable

import pytest

from influencerai_dagster.storage.client import ChecksumMode, make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.servers import S3Server

MakeStore = Callable[..., ObjectStore]


@pytest.fixture
def store(any_s3: S3Server) -> ObjectStore:
    """A bucket of its own, empty."""
    return any_s3.store()


@pytest.fixture
def make_store(any_s3: S3Server) -> MakeStore:
    """A store on a bucket that may not exist, with keys that may be wrong."""

    def make(
        bucket: str,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        checksum_mode: ChecksumMode = "when_required",
    ) -> ObjectStore:
        client = make_s3_client(
            endpoint_url=any_s3.endpoint_url,
            access_key=access_key or any_s3.access_key,
            secret_key=secret_key or any_s3.secret_key,
            region="us-east-1",
            path_style=True,
            checksum_mode=checksum_mode,
        )
        return ObjectStore(client, bucket)

    return make
