"""The tables of the simulated sd-scripts against the recorded ones: options, TOML keys, tensors."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster.simulators.sd_scripts.simulation.errors import MultipleInvalid
from influencerai_dagster.simulators.sd_scripts.simulation.options import parser
from influencerai_dagster.simulators.sd_scripts.simulation.schema import validate
from influencerai_dagster_tests.testing.paths import RECORDED_DIR

RECORDED = RECORDED_DIR / "kohya"
TRAINERS = ["train_network", "sdxl_train_network", "flux_train_network"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_recorded_option_is_taken_with_its_type_default_and_choices(trainer: str) -> None:
    recorded = json.loads((RECORDED / f"args_{trainer}.json").read_text(encoding="utf-8"))
    table = {
        action.option_strings[0]: action
        for action in parser(trainer)._actions  # noqa: SLF001 - argparse has no other list
        if action.dest != "help"
    }
    assert set(table) == set(recorded)
    for name, option in recorded.items():
        action = table[name]
        assert type(action).__name__ == option["kind"], name
        assert action.choices == option.get("choices"), name
        assert action.default == option.get("default"), name
        if option["kind"] == "_StoreAction":
            type_name = getattr(action.type, "__name__", "").lstrip("_")
            assert type_name == (option.get("type") or "str"), name
            assert action.nargs == option.get("nargs"), name


def probes() -> list[Any]:
    found = []
    for line in (RECORDED / "toml_schema_probe.txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"(OK|FAIL) +(general|dataset|subset)\.(\w+)=(.*) -> (.*)", line)
        if match:
            outcome, level, key, value, said = match.groups()
            expected = said.partition(" ")[2] if outcome == "FAIL" else None
            found.append(pytest.param(level, key, ast.literal_eval(value), expected, id=line[:60]))
    return found


def test_the_probes_were_read() -> None:
    assert len(probes()) == 135


@pytest.mark.parametrize(("level", "key", "value", "expected"), probes())
def test_the_dataset_toml_is_as_strict_as_kohyas(
    level: str, key: str, value: Any, expected: str | None
) -> None:
    subset = {"image_dir": "/x"}
    dataset: dict[str, Any] = {"subsets": [subset]}
    config: dict[str, Any] = {"general": {}, "datasets": [dataset]}
    {"general": config["general"], "dataset": dataset, "subset": subset}[level][key] = value
    if expected is None:
        validate(config)
    else:
        with pytest.raises(MultipleInvalid, match=re.escape(expected)):
            validate(config)


def test_a_subset_without_a_folder_is_refused() -> None:
    (line,) = re.findall(
        r"FAIL no image_dir -> MultipleInvalid (.*)",
        (RECORDED / "toml_schema_probe.txt").read_text(encoding="utf-8"),
    )
    with pytest.raises(MultipleInvalid, match=re.escape(line)):
        validate({"datasets": [{"subsets": [{}]}]})


@pytest.mark.parametrize(
    ("family", "marks"),
    [
        (
            BaseModelFamily.SD15,
            {"cond_stage_model.transformer.", "model.diffusion_model.input_blocks."},
        ),
        (BaseModelFamily.SDXL, {"conditioner.embedders.1.", "model.diffusion_model.input_blocks."}),
        (BaseModelFamily.FLUX, {"double_blocks.0.", "single_blocks.0."}),
        (
            "svd",
            {
                "conditioner.embedders.0.open_clip.",
                "model.diffusion_model.input_blocks.1.1.time_stack.",
            },
        ),
    ],
    ids=["sd15", "sdxl", "flux", "svd"],
)
def test_a_simulated_base_model_opens_and_has_the_marks_of_its_family(
    tmp_path: Path, family: Any, marks: set[str]
) -> None:
    path = tmp_path / "models" / "base.safetensors"
    write_simulated_base_model(path, family)
    assert path.stat().st_size < 4 * 1024**2
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["simulated"] == "SIMULATED"
        names = list(file.keys())
        for name in names:
            file.get_tensor(name)
    assert all(any(name.startswith(mark) for name in names) for mark in marks)
