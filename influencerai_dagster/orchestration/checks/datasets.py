"""Checks of `dataset`: nothing unusable or unlicensed goes on to a training."""

import dagster as dg

from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.lora_configs import resolve_lora_config
from influencerai_dagster.domain.manifests.dataset import DatasetManifest
from influencerai_dagster.orchestration.metadata import MAX_ROWS
from influencerai_dagster.orchestration.partitions import dataset_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.studio import StudioResource
from influencerai_dagster.stages.recipes import divide_by_bucket, why_left_out

MAX_NAMED = 5


@dg.asset_check(asset="dataset", blocking=True, partitions_def=dataset_partitions)
def dataset_has_images(dataset: DatasetManifest) -> dg.AssetCheckResult:
    """At least one upload was accepted."""
    return dg.AssetCheckResult(
        passed=bool(dataset.images),
        description=(
            f"{len(dataset.images)} accepted, {len(dataset.rejected)} rejected"
            if dataset.images
            else f"all {len(dataset.rejected)} uploads were rejected: see the table of rejects"
        ),
    )


@dg.asset_check(asset="dataset", partitions_def=dataset_partitions)
def every_image_can_be_trained(
    dataset: DatasetManifest, catalog: CatalogResource, studio: StudioResource
) -> dg.AssetCheckResult:
    """At the resolution of the tenant's default LoRA config, kohya has a bucket for every image."""
    with transaction(catalog.engine) as session:
        config = resolve_lora_config(session, dataset.tenant, None, studio.default_training_preset)
    _, left_out = divide_by_bucket(dataset, config.resolution)
    reasons = [why_left_out(image, config.resolution) for image in left_out]
    return dg.AssetCheckResult(
        passed=not left_out,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(left_out)} of {len(dataset.images)} images are left out of a training at "
            f"{config.resolution} px. Raise resolution in the LoRA config to train on them, or "
            f"crop them: {'; '.join(reasons[:MAX_NAMED])}"
            if left_out
            else f"{len(dataset.images)} images at {config.resolution} px"
        ),
        metadata={"left_out": reasons[:MAX_ROWS]},
    )


def dataset_rights_check(*, is_blocking: bool) -> dg.AssetChecksDefinition:
    """Return the check of rights.json; the setting DATASET_RIGHTS says whether it blocks."""

    @dg.asset_check(
        name="dataset_rights_are_recorded",
        asset="dataset",
        blocking=is_blocking,
        partitions_def=dataset_partitions,
    )
    def check(dataset: DatasetManifest) -> dg.AssetCheckResult:
        """rights.json says whose pictures these are."""
        rights = dataset.rights
        return dg.AssetCheckResult(
            passed=rights is not None,
            severity=dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN,
            description=(
                f"{rights.subject}, {rights.licence}: {rights.evidence}"
                if rights
                else "there is no valid rights.json beside the images: add one with subject "
                "(synthetic or consented), evidence and licence"
            ),
        )

    return check
