"""Load the manifests that assets pass to each other, by what each materialization recorded.

An asset's function publishes its manifest itself (storage/manifests.py); nothing is written here.
"""

import dagster as dg
from pydantic import BaseModel

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import ObjectNotFoundError, PermanentError
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.storage.manifests import Manifest, load
from influencerai_dagster.storage.object_store import ObjectStore


class ManifestIOManager(dg.IOManager):
    """Load manifests from S3; their materializations say where they are."""

    def __init__(self, store: ObjectStore) -> None:
        """Make it on a bucket."""
        self._store = store

    def handle_output(self, context: dg.OutputContext, obj: Manifest) -> None:
        """Check that the asset recorded the object of its manifest; nothing is written."""
        missing = StoredFile.model_fields.keys() - context.output_metadata.keys()
        if missing:
            raise dg.DagsterInvariantViolationError(
                f"{context.asset_key.to_user_string()} returned {obj.object_key()} without "
                f"{', '.join(sorted(missing))} in its metadata: publish the manifest and add "
                "stored_metadata (orchestration/metadata.py)"
            )

    def load_input(self, context: dg.InputContext) -> BaseModel:
        """Return the manifest that the newest materialization of the partition recorded.

        The step fails if there is no such materialization, or if its object is gone or has changed
        since; it is tried again if S3 does not answer.
        """
        with dagster_failures():
            stored = _recorded(context)
            model: type[BaseModel] = context.dagster_type.typing_type
            try:
                return load(self._store, stored, model)
            except ObjectNotFoundError as error:
                raise ObjectNotFoundError(
                    f"{_name(context)} was materialized as {stored.object_key}, which is gone from "
                    f"the bucket {self._store.bucket}. Materialize it again."
                ) from error


@dg.io_manager(config_schema={}, required_resource_keys={"object_store"})
def manifest_io_manager(context: dg.InitResourceContext) -> ManifestIOManager:
    """Return the IO manager on the run's own object store."""
    return ManifestIOManager(context.resources.object_store)


def _name(context: dg.InputContext) -> str:
    return f"asset {context.asset_key.to_user_string()} of {context.asset_partition_key}"


def _recorded(context: dg.InputContext) -> StoredFile:
    """Return what handle_output recorded for the partition."""
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=context.asset_key, asset_partitions=[context.asset_partition_key]
        ),
        limit=1,
    ).records
    materialization = records[0].asset_materialization if records else None
    if materialization is None:
        raise PermanentError(f"{_name(context)} was never materialized. Materialize it first.")
    found = {name: materialization.metadata.get(name) for name in StoredFile.model_fields}
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise PermanentError(
            f"the newest materialization of {_name(context)} has no {', '.join(missing)}: it was "
            "reported from outside. Materialize it here."
        )
    return StoredFile(**{name: value.value for name, value in found.items() if value is not None})
