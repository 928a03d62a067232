"""Build what reaches PostgreSQL and S3: the engines of both databases, and the bucket of assets."""

from sqlalchemy import Engine

from influencerai_dagster.db.api_role import confine
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore


def catalog_engine(settings: Settings) -> Engine:
    """Return the SQLAlchemy engine of the catalog."""
    return create_catalog_engine(settings.database.url)


def tenants_engine(settings: Settings) -> Engine:
    """Return the engine of the API: its transactions see what `tenant_engine` names."""
    engine = create_catalog_engine(settings.database.url, application_name="influencerai-api")
    confine(engine)
    return engine


def dagster_engine(settings: Settings) -> Engine:
    """Return the SQLAlchemy engine of Dagster's own storage."""
    return create_catalog_engine(settings.dagster.database_url)


def assets_store(settings: Settings, *, path_style: bool | None = None) -> ObjectStore:
    """Return the bucket of assets.

    Args:
        settings: S3_ENDPOINT and the others of S3.
        path_style: the style of addresses; None is that of S3_FORCE_PATH_STYLE.

    Raises:
        PermanentError: the address cannot be one; see `make_s3_client`.
    """
    s3 = settings.s3
    client = make_s3_client(
        endpoint_url=s3.endpoint,
        access_key=s3.key,
        secret_key=s3.secret.get_secret_value(),
        region=s3.region,
        path_style=s3.force_path_style if path_style is None else path_style,
        checksum_mode=s3.checksum_mode,
    )
    return ObjectStore(client, s3.bucket, disk=s3.disk)
