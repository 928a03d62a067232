"""Training parameters: presets, overrides, versions and what a training will show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from influencerai_dagster.domain.training import PRESETS, epochs_planned


def test_every_preset_is_named_after_its_family() -> None:
    assert {name: config.base_model_family.value for name, config in PRESETS.items()} == {
        "sd15-face": "sd15",
        "sdxl-face": "sdxl",
        "flux-face": "flux",
    }


def test_an_override_changes_the_version_and_nothing_else() -> None:
    preset = PRESETS["sd15-face"]
    changed = preset.override({"max_train_steps": 800})
    assert changed.max_train_steps == 800
    assert changed.version() != preset.version()
    assert changed.override({"max_train_steps": preset.max_train_steps}) == preset


@pytest.mark.parametrize(
    "changes", [{"network_dim": 0}, {"learning_rate": 2}, {"optimizer": "AdamW"}, {"seed": -1}]
)
def test_an_override_that_kohya_would_refuse_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        PRESETS["sd15-face"].override(changes)


@given(st.integers(0, 5000), st.integers(1, 50), st.integers(1, 64), st.integers(1, 10_000))
def test_the_epochs_planned_are_the_fewest_that_reach_the_steps(
    num_images: int, num_repeats: int, batch_size: int, steps: int
) -> None:
    config = PRESETS["sd15-face"].override(
        {"num_repeats": num_repeats, "train_batch_size": batch_size, "max_train_steps": steps}
    )
    batches = max(1, -(-num_images * num_repeats // batch_size))
    epochs = epochs_planned(num_images, config)
    assert epochs * batches >= steps
    assert (epochs - 1) * batches < steps
