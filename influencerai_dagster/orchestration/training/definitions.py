"""List what Dagster shows of datasets, captions and LoRAs."""

import dagster as dg

from influencerai_dagster.orchestration.pools import pooled
from influencerai_dagster.orchestration.training.captions import captions
from influencerai_dagster.orchestration.training.checks import (
    captioner_refused_no_image,
    dataset_captions_check,
    dataset_has_images,
    dataset_rights_check,
    every_image_can_be_trained,
    every_image_has_a_caption,
    lora_changes_the_image,
    lora_weights_are_stored,
)
from influencerai_dagster.orchestration.training.dataset_upload_sensor import dataset_upload_sensor
from influencerai_dagster.orchestration.training.datasets import dataset
from influencerai_dagster.orchestration.training.loras import (
    lora_automation_sensor,
    lora_samples_asset,
    lora_weights_asset,
    render_lora_samples,
    train_lora,
)
from influencerai_dagster.settings import Settings


def training_definitions(settings: Settings) -> dg.Definitions:
    """Return the assets, checks and sensors of datasets, captions and LoRAs."""
    return dg.Definitions(
        assets=[
            dataset,
            captions,
            lora_weights_asset(pooled(train_lora, settings)),
            lora_samples_asset(pooled(render_lora_samples, settings)),
        ],
        asset_checks=[
            dataset_has_images,
            every_image_can_be_trained,
            dataset_captions_check(is_blocking=settings.datasets.captions == "block"),
            dataset_rights_check(is_blocking=settings.datasets.rights == "block"),
            every_image_has_a_caption,
            captioner_refused_no_image,
            lora_weights_are_stored,
            lora_changes_the_image,
        ],
        sensors=[
            dataset_upload_sensor(settle_seconds=settings.datasets.settle_seconds),
            lora_automation_sensor,
        ],
    )
