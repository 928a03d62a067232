"""A base model is found where ComfyUI has it, and nowhere else."""

from pathlib import Path

import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.base_models import find_base_model


@pytest.mark.parametrize("folder", ["checkpoints", "diffusion_models", "unet", "."])
def test_a_base_model_is_found_in_the_folders_that_comfyui_has(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "base.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert find_base_model(tmp_path, "base.safetensors").resolve() == path


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../secret.safetensors", id="parent folder"),
        pytest.param("checkpoints/../../secret.safetensors", id="up and down"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("checkpoints/..", id="parent at the end"),
        pytest.param("nul\0.safetensors", id="nul"),
        pytest.param("n" * 255, id="255 characters"),
        pytest.param("é" * 255, id="510 bytes"),
        pytest.param(".", id="a folder"),
        pytest.param("missing.safetensors", id="missing"),
    ],
)
def test_a_base_model_outside_of_the_models_folder_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.safetensors").touch()
    models_dir = tmp_path / "models"
    (models_dir / "checkpoints").mkdir(parents=True)
    with pytest.raises(PermanentError, match="was not found; looked for"):
        find_base_model(models_dir, name)


def test_a_base_model_on_another_disk_is_found_behind_a_linked_file_or_folder(
    tmp_path: Path,
) -> None:
    big = tmp_path / "big disk"
    (big / "sdxl").mkdir(parents=True)
    (big / "base.safetensors").touch()
    (big / "sdxl" / "xl.safetensors").touch()
    by_file, by_folder = tmp_path / "by file", tmp_path / "by folder"
    (by_file / "checkpoints").mkdir(parents=True)
    by_folder.mkdir()
    (by_file / "checkpoints" / "base.safetensors").symlink_to(big / "base.safetensors")
    (by_folder / "checkpoints").symlink_to(big)
    for models_dir, name in (
        (by_file, "base.safetensors"),
        (by_folder, "base.safetensors"),
        (by_folder, "sdxl/xl.safetensors"),
    ):
        assert find_base_model(models_dir, name) == models_dir / "checkpoints" / name
