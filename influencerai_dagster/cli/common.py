"""Build the settings, the catalog's engine, the bucket and the job submitter once for a command."""

from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from influencerai_dagster.cli.output import console
from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.environment import running_stack_settings
from influencerai_dagster.local.running_stack import why_no_stack
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.wiring import stores

if TYPE_CHECKING:
    from influencerai_dagster.generation.submission import JobSubmitter

__all__ = ["console", "engine", "job_submitter", "server_settings", "settings", "store"]


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
    return stores.catalog_engine(server_settings())


@cache
def store() -> ObjectStore:
    """Return the bucket of assets."""
    return stores.assets_store(server_settings())


@cache
def job_submitter() -> "JobSubmitter":
    """Return what puts jobs into the job queue."""
    from influencerai_dagster.wiring import generation  # noqa: PLC0415 - imports the renderer

    return generation.job_submitter(server_settings(), engine(), store())
