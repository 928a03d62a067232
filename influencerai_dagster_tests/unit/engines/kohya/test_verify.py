import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from influencerai_dagster.engines.kohya.verify import verified_metadata
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.simulators.sd_scripts.simulation.weights import lora_bytes

GOOD = {"ss_steps": "3", "ss_tag_frequency": '{"images": {"ohwx woman": 2}}'}


def save(path: Path, *, metadata: dict[str, str] = GOOD, value: float = 0.5) -> None:
    down = np.full((4, 8), 0.5, dtype=np.float32)
    down[1, 3] = value
    save_file({"lora_unet_a.lora_down.weight": down}, path, metadata=metadata)


def test_a_good_file_passes_with_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save(path)
    assert verified_metadata(path, steps=3, started_at=time.time()) == GOOD


@pytest.mark.parametrize("precision", ["float", "fp16", "bf16"])
@pytest.mark.parametrize("is_nan", [True, False], ids=["nan", "finite"])
def test_nan_is_found_in_every_precision(tmp_path: Path, precision: str, is_nan: bool) -> None:  # noqa: FBT001 - a parameter
    path = tmp_path / "lora.safetensors"
    content = lora_bytes(
        "train_network",
        network_dim=4,
        network_alpha=2,
        is_unet_only=False,
        save_precision=precision,
        seed=1,
        is_nan=is_nan,
        metadata=GOOD,
    )
    path.write_bytes(content)
    if is_nan:
        with pytest.raises(PermanentError, match="NaN or infinity"):
            verified_metadata(path, steps=3, started_at=time.time())
    else:
        verified_metadata(path, steps=3, started_at=time.time())


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=repr)
def test_one_value_that_is_not_finite_is_enough(tmp_path: Path, value: float) -> None:
    path = tmp_path / "lora.safetensors"
    save(path, value=value)
    with pytest.raises(PermanentError, match=r"lora_unet_a\.lora_down\.weight .* NaN or infinity"):
        verified_metadata(path, steps=3, started_at=time.time())


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({**GOOD, "ss_steps": "2"}, "ss_steps 2, and 3 were asked for"),
        ({"ss_tag_frequency": GOOD["ss_tag_frequency"]}, "ss_steps none"),
        ({**GOOD, "ss_tag_frequency": "{}"}, "without captions"),
        ({**GOOD, "ss_tag_frequency": '{"images": {}}'}, "without captions"),
        ({"ss_steps": "3"}, "without captions"),
    ],
)
def test_metadata_that_prove_nothing_are_refused(
    tmp_path: Path, metadata: dict[str, str], said: str
) -> None:
    path = tmp_path / "lora.safetensors"
    save(path, metadata=metadata)
    with pytest.raises(PermanentError, match=said):
        verified_metadata(path, steps=3, started_at=time.time())


@pytest.mark.parametrize("length", [0, 5, 100, -1], ids=str)
def test_a_cut_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lora.safetensors"
    save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PermanentError, match="do not open"):
        verified_metadata(path, steps=3, started_at=time.time())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="left no weights"):
        verified_metadata(tmp_path / "lora.safetensors", steps=3, started_at=time.time())


def test_a_file_of_an_earlier_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save(path)
    os.utime(path, (0, time.time() - 60))
    with pytest.raises(PermanentError, match="older than the training"):
        verified_metadata(path, steps=3, started_at=time.time())


def test_a_file_without_lora_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"weight": np.zeros(4, dtype=np.float32)}, path, metadata=GOOD)
    with pytest.raises(PermanentError, match="no LoRA"):
        verified_metadata(path, steps=3, started_at=time.time())
