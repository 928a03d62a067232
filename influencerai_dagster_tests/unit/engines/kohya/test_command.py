import json
from pathlib import Path
from typing import Any

import pytest

from influencerai_dagster.engines.kohya.command import TRAINER_SCRIPTS, training_command
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.kohya_trainings import RECORDED, MakeTraining

FULL = {
    "save_every_n_steps": 2,
    "sample_every_n_steps": 2,
    "unet_lr": 1e-4,
    "text_encoder_lr": 5e-5,
    "gradient_checkpointing": True,
    "fp8_base": True,
    "mixed_precision": "bf16",
}
FAMILY_EXTRAS: dict[str, dict[str, Any]] = {
    "sd15": {"clip_skip": 2},
    "sdxl": {},
    "flux": {"blocks_to_swap": 18},
}


def command_of(make_training: MakeTraining, family: str, **config: Any) -> list[str]:
    training = make_training(
        family, config=config, sample_prompts=("a",), tokenizer_cache_dir=Path("/tokenizers")
    )
    return training_command(training)


@pytest.mark.parametrize("trained", ["unet only", "text encoder too"])
@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_every_option_is_one_that_the_recorded_trainer_has(
    make_training: MakeTraining, family: str, trained: str
) -> None:
    is_unet_only = trained == "unet only"
    config = {
        **FULL,
        **FAMILY_EXTRAS[family],
        "network_train_unet_only": is_unet_only,
        "cache_text_encoder_outputs": is_unet_only and family != "sd15",
    }
    _, script, *arguments = command_of(make_training, family, **config)
    known = json.loads((RECORDED / f"args_{Path(script).stem}.json").read_text(encoding="utf-8"))
    for argument in arguments:
        name, _, value = argument.partition("=")
        option = known[name]
        is_flag = option["kind"] == "_StoreTrueAction"
        assert is_flag == (value == ""), argument
        assert value in option.get("choices", [value])


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_what_kohya_has_bad_defaults_for_is_always_given(
    make_training: MakeTraining, family: str
) -> None:
    command = command_of(make_training, family)
    config = make_training(family).config
    assert f"--learning_rate={config.learning_rate}" in command
    assert "--max_train_steps=3" in command
    assert "--seed=42" in command
    assert "--save_model_as=safetensors" in command
    assert "--sdpa" in command


def test_each_family_has_its_trainer_and_network(make_training: MakeTraining) -> None:
    found = {}
    for family in TRAINER_SCRIPTS:
        _, script, *arguments = command_of(make_training, family)
        (network,) = [one for one in arguments if one.startswith("--network_module")]
        found[str(family)] = (script, network.partition("=")[2])
    assert found == {
        "sd15": ("train_network.py", "networks.lora"),
        "sdxl": ("sdxl_train_network.py", "networks.lora"),
        "flux": ("flux_train_network.py", "networks.lora_flux"),
    }


def test_flux_gets_its_models_and_its_rules(make_training: MakeTraining) -> None:
    command = command_of(make_training, "flux", blocks_to_swap=18, fp8_base=True)
    for option in (
        "--guidance_scale=1.0",
        "--model_prediction_type=raw",
        "--blocks_to_swap=18",
        "--fp8_base",
    ):
        assert option in command
    named = {argument.partition("=")[0] for argument in command}
    assert {"--clip_l", "--t5xxl", "--ae"} <= named


def test_sdxl_keeps_its_vae_out_of_16_bit_and_trains_the_unet_only(
    make_training: MakeTraining,
) -> None:
    command = command_of(make_training, "sdxl")
    assert {"--no_half_vae", "--cache_text_encoder_outputs", "--network_train_unet_only"} <= set(
        command
    )


def test_samples_are_asked_for_only_with_prompts(make_training: MakeTraining) -> None:
    training = make_training(config={"sample_every_n_steps": 2})
    assert not any(argument.startswith("--sample") for argument in training_command(training))


def test_relative_paths_become_absolute_because_kohya_runs_in_its_own_folder(
    make_training: MakeTraining,
) -> None:
    training = make_training(work_dir=Path("here"), python=Path("venv/bin/python"))
    command = training_command(training)
    assert command[0] == str(Path.cwd() / "venv/bin/python")
    assert f"--output_dir={Path.cwd() / 'here' / 'output'}" in command


@pytest.mark.parametrize(
    ("family", "config", "named"),
    [
        ("sd15", {"cache_text_encoder_outputs": True}, "cache_text_encoder_outputs"),
        ("sdxl", {"network_train_unet_only": False}, "network_train_unet_only"),
        ("sdxl", {"clip_skip": 2}, "clip_skip"),
        ("sd15", {"blocks_to_swap": 18}, "blocks_to_swap"),
    ],
)
def test_parameters_that_do_not_fit_the_family_are_refused_by_name(
    make_training: MakeTraining, family: str, config: dict[str, Any], named: str
) -> None:
    with pytest.raises(PermanentError, match=named):
        command_of(make_training, family, **config)
