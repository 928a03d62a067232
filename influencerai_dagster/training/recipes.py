"""Make the recipe of a training: its dataset, captions, config and base model."""

from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.lora_training import BUCKET_STEP_PX, LoraConfig, bucket_size
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetImage, DatasetManifest
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.base_models import find_base_model
from influencerai_dagster.media.safetensors_files import base_model_family, file_sha256


@dataclass(frozen=True)
class Recipe:
    """The inputs of a training; equal recipes share one LoRA.

    Attributes:
        images: those of the dataset that kohya has a bucket for at the config's resolution.
        left_out: the images that it has none for.
    """

    dataset: DatasetManifest
    images: tuple[DatasetImage, ...]
    left_out: tuple[DatasetImage, ...]
    captions: CaptionsManifest
    config: LoraConfig
    base_model_path: Path
    base_model_sha256: str

    @property
    def version(self) -> str:
        """The content hash of kohya's inputs: images, their captions, config, base model.

        Rejected uploads and rights do not count: they change a dataset's version, but not its
        training.
        """
        texts = {caption.file_name: caption.text for caption in self.captions.captions}
        shown = [[image.sha256, texts.get(image.file_name)] for image in self.images]
        return fingerprint([shown, self.config.version(), self.base_model_sha256])


def make_recipe(
    dataset: DatasetManifest, captions: CaptionsManifest, config: LoraConfig, models_dir: Path
) -> Recipe:
    """Make a recipe, and check that its inputs belong together.

    Raises:
        PermanentError: the captions are of another dataset version, no image fits a bucket, or the
            base model is missing or of another family than the config says.
    """
    if captions.dataset_version != dataset.version:
        raise PermanentError(
            f"captions of {captions.key} are of dataset version {captions.dataset_version}, "
            f"but the dataset is at {dataset.version}. Materialize `captions` first."
        )
    path = find_base_model(models_dir, config.base_model)
    family = base_model_family(path)
    if family != config.base_model_family:
        raise PermanentError(
            f"base model {path.name} is {family}, but the LoRA config says "
            f"{config.base_model_family}. Set base_model or base_model_family in the config."
        )
    images, left_out = divide_by_bucket(dataset, config.resolution)
    if not images:
        raise PermanentError(
            f"no image of {dataset.key} can be trained at {config.resolution} px: "
            f"{why_left_out(left_out[0], config.resolution)}. Raise resolution in the LoRA config, "
            "or upload images that are less long and narrow."
        )
    return Recipe(dataset, images, left_out, captions, config, path, file_sha256(path))


def divide_by_bucket(
    dataset: DatasetManifest, resolution: int
) -> tuple[tuple[DatasetImage, ...], tuple[DatasetImage, ...]]:
    """Return the images that kohya can train at a resolution, and those that it cannot."""
    fits = [
        bucket_size(image.width_px, image.height_px, resolution) is not None
        for image in dataset.images
    ]
    found = tuple(zip(dataset.images, fits, strict=True))
    return (
        tuple(image for image, is_trained in found if is_trained),
        tuple(image for image, is_trained in found if not is_trained),
    )


def why_left_out(image: DatasetImage, resolution: int) -> str:
    """Return the reason why kohya has no bucket for an image."""
    return (
        f"{image.file_name} has {image.width_px}×{image.height_px} px; scaled to the area of "
        f"{resolution}×{resolution}, its shorter side is less than {BUCKET_STEP_PX} px"
    )
