"""Checks of `dataset`: nothing unusable or unlicensed goes on to a training."""

import dagster as dg

from influencerai_dagster.domain.manifests.dataset import DatasetManifest
from influencerai_dagster.orchestration.partitions import dataset_partitions


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
