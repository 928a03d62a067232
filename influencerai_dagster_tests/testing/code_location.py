"""A code location on the test run's own servers, and the photos that are uploaded to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
import pytest
from sqlalchemy import Engine

from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing import photos

BASE_MODELS = (
    "checkpoints/v1-5-pruned-emaonly.safetensors=stable-diffusion-v1",
    "checkpoints/sd_xl_base_1.0.safetensors=stable-diffusion-xl-v1-base",
    "upscale_models/RealESRGAN_x4plus.pth=ESRGAN",
    "checkpoints/svd_xt.safetensors=stable-video-diffusion-img2vid-xt",
)
MAX_TRAIN_STEPS = 20


def photo(seed: int, size: tuple[int, int] = (320, 400)) -> bytes:
    """A JPEG that is large enough to be trained on."""
    return photos.photo(seed, size=size)


@dataclass
class CodeLocation:
    """A code location with everything behind it."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    engine: Engine
    store: ObjectStore
    settings: Settings
    environment: pytest.MonkeyPatch

    def upload(self, tenant: str, dataset: str, name: str, data: bytes) -> str:
        """Put an upload; return its object key."""
        key = f"datasets/{tenant}/{dataset}/images/{name}"
        self.store.put_latest(key, data)
        return key

    def run(
        self,
        job: str,
        partition_key: str,
        run_config: Mapping[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job for a partition, adding the partition first as the sensors do."""
        is_dataset = job in {"build_dataset_job", "train_lora_job"}
        self.instance.add_dynamic_partitions(
            "datasets" if is_dataset else "content_days", [partition_key]
        )
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=dict(run_config or {}),
            partition_key=partition_key,
            instance=self.instance,
            raise_on_error=False,
        )


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Why the first failed step of a run failed."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            described = data.user_failure_data.description if data.user_failure_data else None
            return described or (data.error.message if data.error else "")
    return ""
