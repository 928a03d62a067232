"""Read a dataset TOML, its images and their captions, as strictly and as carelessly as kohya."""

import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from influencerai_dagster.simulators.sd_scripts.simulation.console import Console
from influencerai_dagster.simulators.sd_scripts.simulation.errors import TomlDecodeError
from influencerai_dagster.simulators.sd_scripts.simulation.schema import validate

_IMAGE_EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_BUCKET_STEP_PX = 64
_DEFAULT_CAPTION_EXTENSION = ".caption"


@dataclass(frozen=True)
class Subset:
    """One folder of images; an image without a caption has an empty one."""

    name: str
    captions: dict[str, str]
    num_repeats: int

    @property
    def tag_frequency(self) -> dict[str, int]:
        """How often each comma-separated part of a caption appears, repeats included."""
        tags = Counter(
            tag.strip() for text in self.captions.values() for tag in text.split(",") if tag.strip()
        )
        return {tag: count * self.num_repeats for tag, count in tags.items()}


@dataclass(frozen=True)
class SimulatedDataset:
    """What is trained on."""

    subsets: tuple[Subset, ...]
    resolution: tuple[int, int]
    batch_size: int

    @property
    def num_train_images(self) -> int:
        """Images with repeats."""
        return sum(len(subset.captions) * subset.num_repeats for subset in self.subsets)


def read_dataset(path: Path, console: Console, *, cache_latents: bool) -> SimulatedDataset:
    """Read the first dataset of a TOML; a folder that is missing or empty is passed over."""
    console.log("INFO", f"Loading dataset config from {path}", "train_network.py:519")
    config = _load(path)
    validate(config)
    general = config.get("general", {})
    (dataset,) = config.get("datasets", [{}])[:1] or [{}]
    settings = {**general, **{key: dataset[key] for key in dataset if key != "subsets"}}
    console.log("INFO", "prepare images.", "train_util.py:2112")
    found = [_read_subset({**settings, **one}, console) for one in dataset.get("subsets", [])]
    subsets = tuple(subset for subset in found if subset.captions)
    resolution = settings.get("resolution", 512)
    size = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    for one in dataset.get("subsets", []):
        _check_images(
            Path(one["image_dir"]), console, max_area=size[0] * size[-1], is_decoded=cache_latents
        )
    made = SimulatedDataset(subsets, (size[0], size[-1]), settings.get("batch_size", 1))
    console.log("INFO", f"{made.num_train_images} train images with repeats.", "train_util.py:2158")
    return made


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"file not found / ファイルが見つかりません: {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise TomlDecodeError(str(error)) from None


def _read_subset(settings: dict[str, Any], console: Console) -> Subset:
    folder = Path(settings["image_dir"])
    images = _images(folder)
    if not folder.is_dir():
        console.log("WARNING", f"not directory: {folder}", "train_util.py:1974")
    else:
        text = f"found directory {folder} contains {len(images)} image files"
        console.log("INFO", text, "train_util.py:2059")
    if not images:
        text = f"ignore subset with image_dir='{folder}': no images found"
        console.log("WARNING", text, "train_util.py:2132")
    extension = settings.get("caption_extension", _DEFAULT_CAPTION_EXTENSION)
    captions = {
        image.name: _read_caption(image.with_suffix(extension), console) for image in images
    }
    return Subset(folder.name, captions, settings.get("num_repeats", 1))


def _read_caption(path: Path, console: Console) -> str:
    if not path.is_file():
        text = f"neither caption file nor class tokens are found. use empty caption for {path}"
        console.log("WARNING", text, "train_util.py:2071")
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise AssertionError(
            f"caption file is empty / キャプションファイルが空です: {path}"  # as kohya's assert
        )
    return lines[0].strip()


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_EXTENSIONS)


def _check_images(folder: Path, console: Console, *, max_area: int, is_decoded: bool) -> None:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - a bad option ends sooner

    for path in _images(folder):
        try:
            with Image.open(path) as image:
                size = image.size
                if is_decoded:
                    image.load()
        except UnidentifiedImageError as error:
            text = f"failed to get image size: {path}, error: {error}"
            console.log("WARNING", text, "train_util.py:1489")
            size = (0, 0)
        select_bucket(*size, max_area)


def select_bucket(image_width: int, image_height: int, max_area: int) -> float:
    """Divide by zero where kohya does; the name is in its traceback.

    That is for a zero-byte image, and for one whose shorter side is less than a bucket step when
    it is scaled down to the training's area.
    """
    scale = min(1.0, (max_area / image_width / image_height) ** 0.5)
    short_side = int(min(image_width, image_height) * scale + 0.5) // _BUCKET_STEP_PX
    return image_width / short_side
