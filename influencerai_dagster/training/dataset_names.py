"""List the datasets of a tenant: those of the catalog, and uploads that no run has read yet."""

from sqlalchemy import Engine

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import tenant_datasets_prefix
from influencerai_dagster.db.datasets import known_datasets, unknown_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import ObjectStore


def dataset_keys(engine: Engine, store: ObjectStore, tenant: str) -> list[DatasetKey]:
    """Return the datasets of a tenant by name, without folders whose name is not allowed.

    Raises:
        PermanentError: unknown tenant.
    """
    with transaction(engine) as session:
        require_tenant(session, tenant)
        known = known_datasets(session, tenant)
    for folder in store.list_folders(tenant_datasets_prefix(tenant)):
        known.add(folder.rstrip("/").rpartition("/")[2])
    keys: list[DatasetKey] = []
    for name in sorted(known):
        try:
            keys.append(DatasetKey(tenant, name))
        except PermanentError:
            continue
    return keys


def require_dataset(engine: Engine, store: ObjectStore, key: DatasetKey) -> None:
    """Check that a tenant has a dataset, uploaded or validated.

    Raises:
        PermanentError: it has none of this name; the text names those that it has.
    """
    known = dataset_keys(engine, store, key.tenant)
    if key not in known:
        raise unknown_dataset(key.tenant, key.dataset, [item.dataset for item in known])
