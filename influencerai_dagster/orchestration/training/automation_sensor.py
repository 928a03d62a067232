"""`lora_automation_sensor`: evaluates the automation conditions of the LoRA assets."""

import dagster as dg

lora_automation_sensor = dg.AutomationConditionSensorDefinition(
    "lora_automation_sensor",
    target=dg.AssetSelection.assets("lora_weights", "lora_samples"),
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    run_tags={"dagster/max_runtime": str(14 * 3600), "stage": "loras"},
    description=(
        "Trains a LoRA when captions have a new data version and every blocking check passed."
    ),
)
