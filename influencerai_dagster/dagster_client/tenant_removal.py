"""Remove a tenant everywhere: from the catalog, the bucket and Dagster's partitions.

Why at once, and not in retention's two steps:
docs/decisions/0028-a-tenant-is-removed-at-once.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import ASSET_OF_PARTITIONS
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.overview import (
    delete_partitions,
    list_runs,
    partitions_of_tenant,
)
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.retention import tenant_removal
from influencerai_dagster.retention.tenant_removal import StoredContents
from influencerai_dagster.storage.object_store import ObjectStore

_MAX_RUNS = 1000


@dataclass(frozen=True)
class TenantContents(StoredContents):
    """What a removal deletes.

    Attributes:
        partitions: set → number of Dagster's partitions.
    """

    partitions: Mapping[str, int]


@dataclass(frozen=True)
class TenantRemoval:
    """The removal of one tenant.

    Attributes:
        engine: of the catalog.
        store: the bucket of assets.
        dagster: the web server.
        tenant: the tenant to remove.
    """

    engine: Engine
    store: ObjectStore
    dagster: DagsterGraphQL
    tenant: str

    def contents(self) -> TenantContents:
        """Count what a removal would delete; nothing is written.

        Raises:
            PermanentError: the tenant may not be removed now (a legal hold, open jobs, live runs),
                or nothing of such a tenant exists.
        """
        partitions = self._partitions()
        stored = tenant_removal.tenant_contents(
            self.engine, self.store, self.tenant, has_more=any(partitions.values())
        )
        self._check_runs()
        numbers = {name: len(keys) for name, keys in partitions.items() if keys}
        return TenantContents(**vars(stored), partitions=numbers)

    def remove(self, contents: TenantContents) -> None:
        """Delete everything: the catalog first, so that nothing new can start.

        A second call continues where the first one was stopped.

        Raises:
            PermanentError: a hold was set or a job came meanwhile; nothing was deleted.
            TransientError: PostgreSQL, S3 or Dagster did not answer; call it again.
        """
        tenant_removal.remove_tenant(self.engine, self.store, contents)
        for partition_set, keys in self._partitions().items():
            delete_partitions(self.dagster, partition_set, keys)

    def _partitions(self) -> dict[str, list[str]]:
        return {
            partition_set: partitions_of_tenant(self.dagster, asset, self.tenant)
            for partition_set, asset in ASSET_OF_PARTITIONS.items()
        }

    def _check_runs(self) -> None:
        for run in list_runs(self.dagster, is_alive=True, limit=_MAX_RUNS):
            if (run.partition_key or "").startswith(f"{self.tenant}/"):
                raise PermanentError(
                    f"tenant {self.tenant!r} is not removed: run {run.run_id} ({run.job_name} of "
                    f"{run.partition_key}) is alive. Wait for it, or terminate it in the Dagster UI"
                )
