"""Training parameters: presets, overrides, versions and what a training will show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from influencerai_dagster.core.lora_training import (
    BUCKET_STEP_PX,
    PRESETS,
    bucket_size,
    epochs_planned,
)


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
    "changes",
    [
        *({"network_dim": 0}, {"learning_rate": 2}, {"optimizer": "AdamW"}, {"seed": -1}),
        {"resolution": 127},
    ],
)
def test_an_override_that_kohya_would_refuse_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        PRESETS["sd15-face"].override(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer_type": "os.path.Join"},
            "is not an optimizer of sd-scripts; use AdamW, AdamW8bit",
        ),
        ({"optimizer_type": "RAdam"}, "is not an optimizer"),
        ({"optimizer_type": ""}, "is not an optimizer"),
        ({"lr_scheduler": "torch.optim.lr_scheduler.StepLR"}, "'constant'"),
        ({"lr_scheduler": "piecewise_constant"}, "'constant'"),
        ({"mixed_precision": "fp8"}, "'bf16'"),
    ],
)
def test_what_kohya_would_import_by_name_is_one_of_a_list(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        PRESETS["sd15-face"].override(changes)


def test_an_optimizer_is_known_in_any_case() -> None:
    preset = PRESETS["sd15-face"]
    assert preset.override({"optimizer_type": "adamw8BIT"}) == preset


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {"unet_lr": 1e-4, "text_encoder_lr": 5e-5}),
        ({"network_train_unet_only": True}, {"unet_lr": 1e-4}),
        ({"text_encoder_lr": None}, {"learning_rate": 1e-4, "unet_lr": 1e-4}),
        ({"unet_lr": None, "text_encoder_lr": None}, {"learning_rate": 1e-4}),
        ({"unet_lr": None, "network_train_unet_only": True}, {"learning_rate": 1e-4}),
    ],
)
def test_the_rates_that_count_are_named_by_their_options(
    changes: dict[str, object], rates: dict[str, float]
) -> None:
    assert PRESETS["sd15-face"].override(changes).rates() == rates


@pytest.mark.parametrize(
    ("size", "resolution", "bucket"),
    [
        pytest.param((512, 512), 512, (512, 512), id="square"),
        pytest.param((6000, 4000), 512, (576, 384), id="camera"),
        pytest.param((4000, 6000), 1024, (832, 1216), id="upright"),
        pytest.param((300, 200), 512, (256, 192), id="smaller than the area: not enlarged"),
        pytest.param((200, 5000), 128, None, id="long screenshot at 128"),
        pytest.param((200, 5000), 512, (64, 1600), id="the same at 512"),
        pytest.param((160, 192), 64, None, id="any photo at 64"),
        pytest.param((5000, 63), 1024, None, id="narrower than a step"),
        pytest.param((20_000, 256), 512, None, id="panorama of 78:1"),
    ],
)
def test_an_image_gets_the_bucket_of_kohya(
    size: tuple[int, int], resolution: int, bucket: tuple[int, int] | None
) -> None:
    assert bucket_size(*size, resolution) == bucket


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([128, 512, 768, 1024]))
def test_a_bucket_is_of_whole_steps_and_ends_as_kohyas_own_search_does(
    width_px: int, height_px: int, resolution: int
) -> None:
    try:
        expected: tuple[int, int] | None = kohyas_bucket(width_px, height_px, resolution)
    except ZeroDivisionError:
        expected = None
    if expected is not None and 0 in expected:
        expected = None  # found, and then an image of no pixels
    assert bucket_size(width_px, height_px, resolution) == expected


def kohyas_bucket(width_px: int, height_px: int, resolution: int) -> tuple[int, int]:
    """What sd-scripts does step by step, in which a division by zero ends it."""

    def steps(size_px: float) -> int:
        whole = int(size_px + 0.5)
        return whole - whole % BUCKET_STEP_PX

    ratio = width_px / height_px
    resized = (width_px, height_px)
    if width_px * height_px > resolution**2:
        wide = (resolution**2 * ratio) ** 0.5
        by_width, by_height = steps(wide), steps(resolution**2 / wide)
        error_by_width = abs(by_width / steps(by_width / ratio) - ratio)
        error_by_height = abs(steps(by_height * ratio) / by_height - ratio)
        if error_by_width < error_by_height:
            resized = (by_width, int(by_width / ratio + 0.5))
        else:
            resized = (int(by_height * ratio + 0.5), by_height)
    bucket = (resized[0] - resized[0] % 64, resized[1] - resized[1] % 64)
    assert bucket[0] / bucket[1] >= 0
    return bucket


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
