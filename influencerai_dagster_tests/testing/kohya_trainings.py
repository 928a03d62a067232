"""A small dataset, a simulated sd-scripts, and the real one where KOHYA_DIR names it."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily, LoraConfig
from influencerai_dagster.engines.kohya.training import TrainingSpec
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster_tests.testing.paths import RECORDED_DIR, SIMULATED_KOHYA_DIR

RECORDED = RECORDED_DIR / "kohya"
SIMULATOR_DIR = SIMULATED_KOHYA_DIR
TINY = {
    "resolution": 128,
    "network_dim": 4,
    "network_alpha": 2,
    "optimizer_type": "AdamW",
    "mixed_precision": "no",
    "gradient_checkpointing": False,
    "fp8_base": False,
    "num_repeats": 2,
    "max_train_steps": 3,
    "save_every_n_steps": None,
    "sample_every_n_steps": None,
}
MakeTraining = Callable[..., TrainingSpec]


def tiny_config(family: BaseModelFamily, **changes: Any) -> LoraConfig:
    return PRESETS[f"{family}-face"].override({**TINY, **changes})


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, side in enumerate((96, 128, 160)):
        Image.new("RGB", (side, 128), (number * 80, 20, 90)).save(folder / f"img{number}.png")
        (folder / f"img{number}.txt").write_text("photo of ohwx woman, smiling\n", encoding="utf-8")
    return folder


@pytest.fixture
def make_training(tmp_path: Path, image_dir: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTraining:
    monkeypatch.setenv("SIMULATOR_KOHYA_SECONDS_PER_STEP", "0.001")

    def make(
        family: str = "sd15", *, config: dict[str, Any] | None = None, **changes: Any
    ) -> TrainingSpec:
        base_model = tmp_path / "models" / f"{family}.safetensors"
        write_simulated_base_model(base_model, BaseModelFamily(family))
        training = TrainingSpec(
            sd_scripts_dir=SIMULATOR_DIR,
            python=Path(sys.executable),
            config=tiny_config(BaseModelFamily(family), **(config or {})),
            base_model_path=base_model,
            image_dir=image_dir,
            work_dir=tmp_path / "work",
            output_name="lora-1",
            extra_variables=("SIMULATOR_*",),
            clip_l_path=base_model,
            t5xxl_path=base_model,
            ae_path=base_model,
        )
        return replace(training, **changes)

    return make


def _real_sd_scripts() -> dict[str, Any] | None:
    """Real sd-scripts is tested where its folder and an SD1.5 checkpoint are named."""
    if not os.environ.get("KOHYA_DIR") or not os.environ.get("KOHYA_TEST_BASE_MODEL"):
        return None
    tokenizers = os.environ.get("KOHYA_TOKENIZER_CACHE_DIR")
    return {
        "sd_scripts_dir": Path(os.environ["KOHYA_DIR"]),
        "python": Path(os.environ.get("KOHYA_PYTHON", sys.executable)),
        "base_model_path": Path(os.environ["KOHYA_TEST_BASE_MODEL"]),
        "tokenizer_cache_dir": Path(tokenizers) if tokenizers else None,
    }


@pytest.fixture(params=["simulator", "real"])
def contract_training(request: pytest.FixtureRequest, make_training: MakeTraining) -> MakeTraining:
    """Makes SD1.5 trainings on the simulator, and on real sd-scripts where it is given."""
    if request.param == "simulator":
        return make_training
    real = _real_sd_scripts()
    if real is None:
        pytest.skip("KOHYA_DIR and KOHYA_TEST_BASE_MODEL name no real sd-scripts")
    return lambda **changes: make_training(**{**real, **changes})
