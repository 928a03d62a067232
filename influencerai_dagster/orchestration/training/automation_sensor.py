"""`lora_automation_sensor`: evaluates the automation conditions of the LoRA assets."""

import dagster as dg

from influencerai_dagster.core.dagster_names import TRAIN_LORA_JOB
from influencerai_dagster.orchestration.jobs import JOBS

lora_automation_sensor = dg.AutomationConditionSensorDefinition(
    "lora_automation_sensor",
    target=dg.AssetSelection.assets("lora_weights", "lora_samples"),
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    run_tags=dict(JOBS[TRAIN_LORA_JOB].tags or {}),
    description=(
        "Trains a LoRA when captions have a new data version and every blocking check passed."
    ),
)
