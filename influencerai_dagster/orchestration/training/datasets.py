"""Asset `dataset`: validated uploads. What makes an upload valid lives in training/datasets.py."""

import dagster as dg

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, stored_metadata
from influencerai_dagster.orchestration.partitions import dataset_partitions, kept_partition
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.training.metadata import dataset_metadata
from influencerai_dagster.training.datasets import build_dataset

_PROGRESS_EVERY = 250


@dg.asset(
    partitions_def=dataset_partitions,
    group_name="datasets",
    kinds={"s3", "python"},
    owners=[OWNER],
    code_version="1",
)
def dataset(
    context: dg.AssetExecutionContext,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    limits: LimitsResource,
) -> dg.MaterializeResult[DatasetManifest]:
    """The photos of one dataset, validated, hashed and measured.

    Made from every upload below `datasets/<tenant>/<dataset>/images/`; uploads themselves are never
    changed. One partition is one dataset of one tenant. Rerun it when uploads changed and the
    upload sensor is off.
    """

    def report(done: int, total: int) -> None:
        if done % _PROGRESS_EVERY == 0 or done == total:
            context.log.info(f"{done} of {total} uploads read")

    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        key = DatasetKey.parse(context.partition_key)
        rules = limits.dataset_rules()
        published = build_dataset(catalog.engine, object_store, key, rules, optional(report))
        return dg.MaterializeResult(
            value=published.manifest,
            metadata={
                **dataset_metadata(object_store, published.manifest),
                **stored_metadata(published.stored),
            },
            data_version=dg.DataVersion(published.manifest.version),
        )
