import tomllib
from pathlib import Path

import pytest

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.engines.kohya.dataset_config import (
    write_dataset_config,
    write_sample_prompts,
)
from influencerai_dagster.simulators.sd_scripts.simulation.schema import validate
from influencerai_dagster_tests.testing.kohya_trainings import tiny_config

CONFIG = tiny_config(BaseModelFamily.SD15)


def test_the_dataset_config_names_the_folder_and_always_txt_captions(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    write_dataset_config(path, image_dir=tmp_path / 'a "b" ü', config=CONFIG)
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    assert read["general"] == {
        "caption_extension": ".txt",
        "shuffle_caption": False,
        "flip_aug": False,
    }
    (dataset,) = read["datasets"]
    assert dataset["subsets"] == [{"image_dir": str(tmp_path / 'a "b" ü'), "num_repeats": 2}]
    assert dataset["resolution"] == 128
    assert dataset["enable_bucket"]
    assert dataset["bucket_no_upscale"]


def test_kohyas_validator_takes_the_dataset_config(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    write_dataset_config(path, image_dir=tmp_path, config=CONFIG)
    validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_tables_are_never_inline_because_the_toml_library_of_kohya_is_old(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    write_dataset_config(path, image_dir=tmp_path, config=CONFIG)
    assert "{" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("resolution", [128, 200, 512, 768, 1024, 4096])
def test_the_buckets_enclose_the_resolution(tmp_path: Path, resolution: int) -> None:
    config = CONFIG.override({"resolution": resolution})
    path = tmp_path / "dataset.toml"
    write_dataset_config(path, image_dir=tmp_path, config=config)
    (dataset,) = tomllib.loads(path.read_text(encoding="utf-8"))["datasets"]
    assert dataset["min_bucket_reso"] <= resolution <= dataset["max_bucket_reso"]
    assert dataset["min_bucket_reso"] % 64 == dataset["max_bucket_reso"] % 64 == 0


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        pytest.param("photo of ohwx woman", "photo of ohwx woman", id="plain"),
        pytest.param("a\nb\r\n c", "a b c", id="lines"),
        pytest.param("# hidden", "hidden", id="comment"),
        pytest.param("a --w 9999 ---- b", "a -w 9999 - b", id="options"),
    ],
)
def test_a_sample_prompt_stays_one_prompt(tmp_path: Path, prompt: str, written: str) -> None:
    path = tmp_path / "prompts.txt"
    write_sample_prompts(path, prompts=(prompt,), config=CONFIG)
    assert path.read_text(encoding="utf-8") == f"{written} --w 128 --h 128 --s 20 --d 42\n"


def test_each_sample_prompt_has_a_seed_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    write_sample_prompts(path, prompts=("a", "b"), config=CONFIG)
    ends = [line.split()[-1] for line in path.read_text(encoding="utf-8").splitlines()]
    assert ends == ["42", "43"]
