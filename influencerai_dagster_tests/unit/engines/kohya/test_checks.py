import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from influencerai_dagster.engines.kohya.checks import check_before_training
from influencerai_dagster.errors import InsufficientStorageError, PermanentError
from influencerai_dagster_tests.testing.kohya_trainings import MakeTraining


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def latin_1(path: Path) -> None:
    path.write_bytes("mit Brötchen".encode("latin-1"))


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path)


@pytest.fixture
def ready(make_training: MakeTraining) -> MakeTraining:
    def make(*args: Any, **changes: Any) -> Any:
        training = make_training(*args, **changes)
        training.work_dir.mkdir(exist_ok=True)
        return training

    return make


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_a_good_training_passes(ready: MakeTraining, family: str) -> None:
    check_before_training(ready(family))


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("img1.png", truncate, r"img1\.png .* does not decode"),
        ("img1.png", lambda path: path.write_bytes(b""), r"img1\.png \(0 bytes\)"),
        ("img1.png", lambda path: path.write_text("no image"), r"img1\.png .* does not decode"),
        ("img1.png", bomb, r"img1\.png .* does not decode"),
        ("img1.txt", Path.unlink, r"img1\.txt has no caption"),
        ("img1.txt", lambda path: path.write_text(""), r"img1\.txt is empty"),
        ("img1.txt", lambda path: path.write_text(" \n"), r"img1\.txt is empty"),
        ("img1.txt", lambda path: path.write_text("a\nb\n"), r"img1\.txt has several lines"),
        ("img1.txt", latin_1, r"img1\.txt is not UTF-8"),
        ("img1_sd.npz", Path.touch, r"img1_sd\.npz.*fresh copy"),
    ],
)
def test_a_spoilt_dataset_is_refused_by_the_name_of_the_file(
    ready: MakeTraining, image_dir: Path, file: str, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(image_dir / file)
    with pytest.raises(PermanentError, match=said):
        check_before_training(ready())


def test_an_ending_that_kohya_does_not_know_is_refused(
    ready: MakeTraining, image_dir: Path
) -> None:
    (image_dir / "img1.png").rename(image_dir / "img1.Png")
    with pytest.raises(PermanentError, match=r"kohya skips img1\.Png"):
        check_before_training(ready())


def test_images_in_a_subfolder_do_not_count(ready: MakeTraining, image_dir: Path) -> None:
    shutil.move(image_dir, image_dir.parent / "10_name")
    image_dir.mkdir()
    shutil.move(image_dir.parent / "10_name", image_dir / "10_name")
    with pytest.raises(PermanentError, match="no images at its top level"):
        check_before_training(ready())


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        (
            "sd15",
            {"sd_scripts_dir": Path("/nowhere")},
            r"/nowhere has no train_network\.py.*KOHYA_DIR",
        ),
        (
            "sd15",
            {"python": Path("/nowhere/python")},
            "/nowhere/python is not a program.*KOHYA_PYTHON",
        ),
        ("sd15", {"base_model_path": Path("/nowhere/a")}, "base_model model /nowhere/a does not"),
        ("sd15", {"image_dir": Path("/nowhere")}, "image folder /nowhere does not exist"),
        ("sd15", {"output_name": "../lora"}, "output_name"),
        ("sd15", {"output_name": "--x"}, "output_name"),
        ("flux", {"clip_l_path": None}, "needs the clip_l model"),
        ("flux", {"t5xxl_path": Path("/nowhere/t5")}, "t5xxl model /nowhere/t5 does not exist"),
        ("flux", {"ae_path": None}, "needs the ae model"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(
    ready: MakeTraining, family: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(PermanentError, match=said):
        check_before_training(ready(family, **changes))


def test_a_disk_that_is_too_full_for_the_checkpoints_is_told_before(
    ready: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=500 * 1024**2))
    few = {"network_dim": 64, "mixed_precision": "bf16", "max_train_steps": 1000}
    check_before_training(ready(config=few))
    many = {**few, "save_every_n_steps": 100}
    with pytest.raises(InsufficientStorageError, match="500 MiB free and 11 checkpoints"):
        check_before_training(ready(config=many))
