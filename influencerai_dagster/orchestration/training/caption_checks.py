"""Checks of `captions`: kohya trains silently without captions, so their absence blocks here."""

import dagster as dg

from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.orchestration.partitions import dataset_partitions


@dg.asset_check(
    asset="captions",
    blocking=True,
    partitions_def=dataset_partitions,
    additional_ins={"dataset": dg.AssetIn("dataset")},
)
def every_image_has_a_caption(
    captions: CaptionsManifest, dataset: DatasetManifest
) -> dg.AssetCheckResult:
    """Every accepted image has a caption that starts with the trigger phrase."""
    texts = {item.file_name: item.text for item in captions.captions}
    missing = [image.file_name for image in dataset.images if not texts.get(image.file_name)]
    astray = [name for name, text in texts.items() if not text.startswith(captions.trigger_phrase)]
    return dg.AssetCheckResult(
        passed=not missing and not astray,
        description=f"{len(texts)} captions for {len(dataset.images)} images",
        metadata={"without_caption": missing[:50], "without_trigger_phrase": astray[:50]},
    )


@dg.asset_check(asset="captions", partitions_def=dataset_partitions)
def captioner_refused_no_image(captions: CaptionsManifest) -> dg.AssetCheckResult:
    """The auto-captioner described every image that it was asked about."""
    refused = captions.refused
    return dg.AssetCheckResult(
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(refused)} images were refused and have the class caption: write theirs by hand "
            "(a .txt beside the image) or take them out of the dataset"
            if refused
            else f"none of {len(captions.captions)} images was refused"
        ),
        metadata={"refused": [f"{image.file_name}: {image.why}" for image in refused[:50]]},
    )
