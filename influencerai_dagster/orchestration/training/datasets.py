"""Asset `dataset`: the validated uploads. What makes one valid lives in training/datasets.py."""

from collections import Counter

import dagster as dg

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.lora_training import bucket_size
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.media.contact_sheets import contact_sheet
from influencerai_dagster.media.plots import histogram_png
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import (
    OWNER,
    SHEET_COLUMNS,
    THUMB_PX,
    Metadata,
    inline_image,
    table,
)
from influencerai_dagster.orchestration.partitions import dataset_partitions, kept_partition
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.datasets import image_thumbnail, publish_dataset, scan_dataset

_SHEET_IMAGES = 12
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
    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        key = DatasetKey.parse(context.partition_key)
        with transaction(catalog.engine) as session:
            require_tenant(session, key.tenant)

        def report(done: int, total: int) -> None:
            if done % _PROGRESS_EVERY == 0 or done == total:
                context.log.info(f"{done} of {total} uploads read")

        manifest = scan_dataset(object_store, key, limits.dataset_rules(), optional(report))
        publish_dataset(object_store, manifest)
        with transaction(catalog.engine) as session:
            record_dataset(session, manifest)
        return dg.MaterializeResult(
            value=manifest,
            metadata=_metadata(object_store, manifest),
            data_version=dg.DataVersion(manifest.version),
        )


def _metadata(store: ObjectStore, manifest: DatasetManifest) -> Metadata:
    shown = manifest.images[:_SHEET_IMAGES]
    facts: Metadata = {}
    if manifest.rejected:
        facts["rejects"] = table([item.model_dump(mode="json") for item in manifest.rejected])
    if shown:
        thumbnails = store.map(lambda image: image_thumbnail(store, image, THUMB_PX), shown)
        shots = zip((image.file_name for image in shown), thumbnails, strict=True)
        sheet = contact_sheet(shots, SHEET_COLUMNS, THUMB_PX)
        facts["contact_sheet"] = inline_image(sheet, "accepted images")
    facts |= {"images": len(manifest.images), "rejected": len(manifest.rejected)}
    facts["rights"] = manifest.rights.subject if manifest.rights else "not recorded"
    if manifest.images:
        sizes = Counter(_bucket(image.width_px, image.height_px) for image in manifest.images)
        facts["resolution_buckets"] = inline_image(
            histogram_png(
                dict(sorted(sizes.items())),
                title="Images by resolution bucket",
                x_label="width × height, px",
            ),
            "resolution buckets",
        )
    return facts


def _bucket(width_px: int, height_px: int) -> str:
    """Return the aspect-ratio bucket of 512² pixels that kohya would put such an image in."""
    size = bucket_size(width_px, height_px, 512)
    return "none" if size is None else "{}×{}".format(*size)
