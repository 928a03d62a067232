"""Builds the bucket of assets that the settings describe; Dagster's is made by its resource."""

from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore


def assets_store(settings: Settings, *, path_style: bool | None = None) -> ObjectStore:
    """Return the bucket of assets; nothing is sent yet.

    Args:
        settings: S3_ENDPOINT and the others of S3.
        path_style: the style of addresses; None is that of S3_FORCE_PATH_STYLE.

    Raises:
        PermanentError: the address cannot be one; see `make_s3_client`.
    """
    client = make_s3_client(
        endpoint_url=settings.s3.endpoint,
        access_key=settings.s3.key,
        secret_key=settings.s3.secret.get_secret_value(),
        region=settings.s3.region,
        path_style=settings.s3.force_path_style if path_style is None else path_style,
        checksum_mode=settings.s3.checksum_mode,
    )
    return ObjectStore(client, settings.s3.bucket, disk=settings.s3.disk)
