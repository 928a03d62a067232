"""What all commands share: settings and the two stores."""

from functools import cache

from sqlalchemy import Engine

from influencerai_dagster.catalog.engine import create_catalog_engine
from influencerai_dagster.cli.output import console
from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.environment import running_stack_settings
from influencerai_dagster.local.running_stack import why_no_stack
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore

__all__ = ["console", "engine", "server_settings", "settings", "store"]


@cache
def settings() -> Settings:
    """Return the settings, read once; a stack that runs on this machine is found by itself."""
    return running_stack_settings()


@cache
def server_settings() -> Settings:
    """Return the settings for a command that needs the servers.

    Raises:
        TransientError: no stack runs, and no server is configured; the text says how to start it.
    """
    problem = why_no_stack(settings())
    if problem is not None:
        raise TransientError(problem)
    return settings()


@cache
def engine() -> Engine:
    """Return the catalog's engine."""
    return create_catalog_engine(server_settings().database_url)


@cache
def store() -> ObjectStore:
    """Return the bucket of assets."""
    return store_with(path_style=server_settings().s3_force_path_style)


def store_with(*, path_style: bool) -> ObjectStore:
    """Return the bucket of assets under addresses of this style."""
    config = server_settings()
    client = make_s3_client(
        endpoint_url=config.s3_endpoint,
        access_key=config.s3_key,
        secret_key=config.s3_secret.get_secret_value(),
        region=config.s3_region,
        path_style=path_style,
        checksum_mode=config.s3_checksum_mode,
    )
    return ObjectStore(client, config.s3_bucket, disk=config.s3_disk)
