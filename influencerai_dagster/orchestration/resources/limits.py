"""Give ops and checks the limits and defaults of the operator."""

from dataclasses import dataclass

import dagster as dg

from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring import training


@dataclass(frozen=True)
class Limits:
    """Limits and defaults from the settings."""

    settings: Settings

    @property
    def default_training_preset(self) -> str:
        """The preset of tenants without a LoRA config."""
        return self.settings.training.default_preset

    @property
    def generation_idle_timeout_seconds(self) -> float:
        """How long a worker waits for new jobs before its run ends."""
        return self.settings.generation.idle_timeout_seconds

    @property
    def generation_time_slice_seconds(self) -> float:
        """After how long a worker ends early if others wait for its pool slot."""
        return self.settings.generation.time_slice_seconds

    def dataset_rules(self) -> DatasetRules:
        """Return the limits of uploads."""
        return training.dataset_rules(self.settings)


LimitsResource = dg.ResourceParam[Limits]
