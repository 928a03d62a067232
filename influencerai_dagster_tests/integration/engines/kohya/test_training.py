import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from PIL import Image

from influencerai_dagster.core.lora_training import TrainingStep
from influencerai_dagster.engines.kohya.training import sd_scripts_commit, train
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)
from influencerai_dagster_tests.integration.engines.kohya.test_process import is_running
from influencerai_dagster_tests.testing.kohya_trainings import SIMULATOR_DIR, MakeTraining
from influencerai_dagster_tests.testing.waiting import wait_until


@pytest.mark.timeout(900)
def test_a_training_leaves_proved_weights_and_its_loss_curve(
    contract_training: MakeTraining,
) -> None:
    steps: list[TrainingStep] = []
    training = contract_training()
    result = train(training, on_step=steps.append)
    assert result.weights_path == training.weights_path
    assert result.weights_path.is_file()
    assert result.steps == 3
    assert [step for step, _ in result.loss_curve] == [1, 2, 3]
    assert result.final_loss == result.loss_curve[-1][1] == steps[-1].loss
    assert (steps[-1].step, steps[-1].total_steps) == (3, 3)
    assert result.is_simulated == (training.sd_scripts_dir == SIMULATOR_DIR)
    assert "saving checkpoint" in result.log_path.read_text(encoding="utf-8")


@pytest.mark.timeout(900)
def test_sample_images_are_told_while_it_trains(contract_training: MakeTraining) -> None:
    samples: list[Path] = []
    training = contract_training(
        config={"sample_every_n_steps": 2}, sample_prompts=("ohwx woman", "ohwx woman, beach")
    )
    train(training, on_sample=samples.append)
    assert [path.name[:16] for path in samples] == ["lora-1_000002_00", "lora-1_000002_01"]
    for path in samples:
        with Image.open(path) as image:
            assert image.size == (128, 128)


@pytest.mark.timeout(900)
def test_no_process_survives_when_a_training_is_interrupted(
    contract_training: MakeTraining,
) -> None:
    processes: list[int] = []
    # Servers of other tests may be children of this process, too.
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    def interrupt(step: TrainingStep) -> None:
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        processes.extend(children - before)
        if step.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(contract_training(config={"max_train_steps": 1000}), on_step=interrupt)
    assert processes
    wait_until(lambda: not any(is_running(process) for process in processes), "all end")


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_every_family_trains(make_training: MakeTraining, family: str) -> None:
    assert train(make_training(family)).is_simulated


def test_checkpoints_are_left_beside_the_weights(make_training: MakeTraining) -> None:
    training = make_training(config={"max_train_steps": 5, "save_every_n_steps": 2})
    train(training)
    assert sorted(path.name for path in training.output_dir.glob("*.safetensors")) == [
        "lora-1-step00000002.safetensors",
        "lora-1-step00000004.safetensors",
        "lora-1.safetensors",
    ]


def test_a_second_attempt_starts_from_an_empty_output(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_training())
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", "no_file")
    with pytest.raises(PermanentError, match="left no weights"):
        train(make_training())


def test_a_loss_that_becomes_nan_stops_the_training_at_once(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", "nan")
    steps: list[TrainingStep] = []
    training = make_training(config={"max_train_steps": 10_000, "mixed_precision": "fp16"})
    with pytest.raises(PermanentError, match=r"step 2 of 10000.*lower unet_lr .*bf16"):
        train(training, on_step=steps.append)
    assert max(step.step for step in steps) < 1000


@pytest.mark.parametrize(
    ("fault", "error_class", "said"),
    [
        ("oom", PermanentError, "GPU has too little memory"),
        ("disk_full", InsufficientStorageError, "free space"),
        ("sigkill", TransientError, "out-of-memory killer"),
        ("truncated", PermanentError, "do not open"),
        ("no_file", PermanentError, "left no weights"),
        ("offline", PermanentError, "not NoneType"),
    ],
)
def test_every_fault_ends_as_a_clear_error(
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    error_class: type[InfluencerAIError],
    said: str,
) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", fault)
    training = make_training()
    with pytest.raises(error_class, match=said) as caught:
        train(training)
    assert type(caught.value) is error_class


def test_a_training_that_hangs_ends_with_its_time_limit(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", "hang")
    with pytest.raises(TransientError, match="time limit"):
        train(make_training(time_limit_seconds=1))


def test_a_dataset_that_vanished_is_no_success(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make_training()
    monkeypatch.setattr(
        "influencerai_dagster.engines.kohya.training.check_before_training",
        lambda _: shutil.rmtree(training.image_dir),
    )
    with pytest.raises(PermanentError, match="no image to train on"):
        train(training)


def test_the_loss_of_a_simulated_training_falls(make_training: MakeTraining) -> None:
    result = train(make_training(config={"max_train_steps": 60}))
    losses = [loss for _, loss in result.loss_curve]
    assert losses[-1] < losses[0] * 0.8
    assert len({round(before - after, 4) for before, after in pairwise(losses)}) > 3


def test_the_commit_is_read_from_the_checkout_itself(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert sd_scripts_commit(tmp_path) == head.stdout.strip()
    below = tmp_path / "below"
    below.mkdir()
    assert sd_scripts_commit(below) == "unknown"
