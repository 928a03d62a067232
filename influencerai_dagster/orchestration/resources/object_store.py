"""Give ops and IO managers the bucket of assets."""

from contextlib import nullcontext
from functools import cache, partial

import dagster as dg

from influencerai_dagster.orchestration.run_config import fixed_resource
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.wiring import stores


def object_store_resource(settings: Settings) -> dg.ResourceDefinition:
    """Return the resource `object_store`, one for all ticks of a process.

    A client takes 0.15 s of CPU to make; its threads and connections are made at first use.
    """
    store = cache(partial(stores.assets_store, settings))
    return fixed_resource("The bucket of assets.", lambda _: nullcontext(store()))


ObjectStoreResource = dg.ResourceParam[ObjectStore]
