"""Give ops and IO managers the bucket of assets."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.wiring import stores


@contextmanager
def opened_store(settings: Settings) -> Iterator[ObjectStore]:
    """Give the bucket of assets; its connections are closed at the end of the block."""
    store = stores.assets_store(settings)
    try:
        yield store
    finally:
        store.client.close()


ObjectStoreResource = dg.ResourceParam[ObjectStore]
