"""Check a training before it starts, so that no GPU hour is spent to find a mistake.

kohya itself skips missing folders and captions in silence, and names no file for a broken
image (docs/protocols/kohya.md, points 1 and 7 to 9). The parameters are checked in command.py, the
result in verify.py.
"""

import math
import re
import shutil
from pathlib import Path

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.engines.kohya.command import TrainingSpec, check_config
from influencerai_dagster.engines.kohya.dataset_config import CAPTION_EXTENSION
from influencerai_dagster.errors import InsufficientStorageError, PermanentError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MIB = 1024**2
# Size of a LoRA's weights in float32 for each unit of network_dim, U-Net and text encoders.
_MIB_PER_DIM = {
    BaseModelFamily.SD15: 2.4,
    BaseModelFamily.SDXL: 14.5,
    BaseModelFamily.FLUX: 20.0,
}
_MARGIN_MIB = 200


def check_before_training(training: TrainingSpec) -> None:
    """Refuse a training that cannot end well.

    Raises:
        PermanentError: a file is missing or broken, or a parameter is wrong; the text says which
            and what to do.
        InsufficientStorageError: the disk is too full for the checkpoints.
    """
    check_config(training.config)
    if not _OUTPUT_NAME.fullmatch(training.output_name):
        text = (
            f"output_name {training.output_name[:80]!r} is not a file name: use letters, digits and"
            " . _ -"
        )
        raise PermanentError(text)
    check_program(training.sd_scripts_dir, training.script, training.python)
    _check_models(training)
    check_images(training.image_dir)
    _check_disk(training)


def check_program(sd_scripts_dir: Path, script: str, python: Path) -> None:
    """Refuse a folder that is not sd-scripts, or an interpreter that is not there."""
    if not (sd_scripts_dir / script).is_file():
        text = (
            f"{sd_scripts_dir} has no {script}: set KOHYA_DIR to a checkout of"
            " github.com/kohya-ss/sd-scripts"
        )
        raise PermanentError(text)
    if shutil.which(python) is None:
        text = f"{python} is not a program: set KOHYA_PYTHON to the Python that runs sd-scripts"
        raise PermanentError(text)


def images_in(image_dir: Path) -> list[Path]:
    """Return the images that kohya would train on: those of the top level."""
    return sorted(
        path
        for path in image_dir.iterdir()
        if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file()
    )


def check_images(image_dir: Path) -> None:
    """Refuse a folder without images, with one that does not decode, or one without a caption."""
    if not image_dir.is_dir():
        raise PermanentError(f"the image folder {image_dir} does not exist: nothing to train on")
    images = images_in(image_dir)
    if not images:
        kinds = " ".join(sorted(IMAGE_EXTENSIONS))
        raise PermanentError(
            f"the image folder {image_dir} has no images at its top level ({kinds})"
        )
    if stale := sorted(path.name for path in image_dir.glob("*.npz")):
        text = (
            f"the image folder {image_dir} has caches of an earlier training ({stale[0]}), which"
            " kohya would trust even if images changed: train on a fresh copy"
        )
        raise PermanentError(text)
    for image in images:
        if image.suffix not in (image.suffix.lower(), image.suffix.upper()):
            text = f"kohya skips {image.name}: write its ending in small or capital letters"
            raise PermanentError(text)
        _check_decodes(image)
        _check_caption(image.with_suffix(CAPTION_EXTENSION))


def _check_decodes(path: Path) -> None:
    from PIL import Image  # noqa: PLC0415 - only trainings need it

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        text = (
            f"the image {path.name} ({path.stat().st_size} bytes) does not decode: {error}; remove"
            " it from the dataset or upload it again"
        )
        raise PermanentError(text) from error


def _check_caption(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"the image of {path.name} has no caption: kohya would train it without one"
        raise PermanentError(message) from None
    except UnicodeDecodeError as error:
        raise PermanentError(f"the caption {path.name} is not UTF-8: {error}") from error
    first, *others = text.splitlines() or [""]
    if not first.strip():
        raise PermanentError(f"the caption {path.name} is empty: write it or remove the image")
    if any(line.strip() for line in others):
        raise PermanentError(
            f"the caption {path.name} has several lines: kohya reads the first only"
        )


def _check_models(training: TrainingSpec) -> None:
    models: dict[str, Path | None] = {"base_model": training.base_model_path}
    if training.config.base_model_family is BaseModelFamily.FLUX:
        models |= {
            "clip_l": training.clip_l_path,
            "t5xxl": training.t5xxl_path,
            "ae": training.ae_path,
        }
    for name, path in models.items():
        if path is None:
            raise PermanentError(f"a flux training needs the {name} model, and none was given")
        if not path.exists():
            text = f"the {name} model {path} does not exist: put it there, or correct its name"
            raise PermanentError(text)


def _check_disk(training: TrainingSpec) -> None:
    config = training.config
    bytes_per_value = 4 if config.mixed_precision == "no" else 2
    one_mib = _MIB_PER_DIM[config.base_model_family] * config.network_dim * bytes_per_value / 4
    every = config.save_every_n_steps or config.max_train_steps
    files = 1 + math.ceil(config.max_train_steps / every)
    needed_mib = math.ceil(one_mib * files + _MARGIN_MIB)
    free_mib = shutil.disk_usage(training.work_dir).free // _MIB
    if free_mib < needed_mib:
        text = (
            f"the training folder {training.work_dir} has {free_mib} MiB free and {files}"
            f" checkpoints need about {needed_mib} MiB: free space, or raise save_every_n_steps"
        )
        raise InsufficientStorageError(text)
