"""What all commands share: settings, the two stores, and how our errors are shown."""

import errno
import sys
from functools import cache
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy import Engine
from typer.core import TyperGroup

from influencerai_dagster.catalog.engine import create_catalog_engine
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.files import explained
from influencerai_dagster.local.environment import running_stack_settings
from influencerai_dagster.settings import Settings, bypass_proxies_on_loopback
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore

console = Console()


class OurErrors(TyperGroup):
    """A command group that ends with the text of our errors instead of a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override] # click's Context
        """Run the command."""
        bypass_proxies_on_loopback()
        try:
            return super().invoke(ctx)
        except InfluencerAIError as error:
            _end(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever read our output has gone: click ends quietly
            _end(explained(error))


def _end(text: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(text)}", highlight=False)
    sys.exit(1)


@cache
def settings() -> Settings:
    """Return the settings, read once; a stack that runs on this machine is found by itself."""
    return running_stack_settings()


@cache
def engine() -> Engine:
    """Return the catalog's engine."""
    return create_catalog_engine(settings().database_url)


@cache
def store() -> ObjectStore:
    """Return the bucket of assets."""
    config = settings()
    client = make_s3_client(
        endpoint_url=config.s3_endpoint,
        access_key=config.s3_key,
        secret_key=config.s3_secret.get_secret_value(),
        region=config.s3_region,
        path_style=config.s3_force_path_style,
        checksum_mode=config.s3_checksum_mode,
    )
    return ObjectStore(client, config.s3_bucket, disk=config.s3_disk)
