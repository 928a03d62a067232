"""The rules that a studio sets for itself, for assets and ops."""

import dagster as dg

from influencerai_dagster.core.dataset_rules import DatasetRules


class LimitsResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """Limits and defaults from the settings, by value.

    Attributes:
        default_training_preset: DEFAULT_TRAINING_PRESET, where a tenant has no LoRA config.
        generation_idle_timeout_seconds: how long a generation run waits for new jobs before it
        ends. generation_time_slice_seconds: after so long it ends early if others wait for its pool
        slot.
    """

    max_upload_size_bytes: int
    max_dataset_images: int
    max_image_pixels: int
    min_image_side_px: int
    default_training_preset: str
    generation_idle_timeout_seconds: float
    generation_time_slice_seconds: float
    max_pending_jobs_per_tenant: int

    def dataset_rules(self) -> DatasetRules:
        """Return the limits that uploads are held to."""
        return DatasetRules(
            max_upload_size_bytes=self.max_upload_size_bytes,
            max_images=self.max_dataset_images,
            max_pixels=self.max_image_pixels,
            min_side_px=self.min_image_side_px,
        )
