"""Define a LoRA and its origin, loras/<tenant>/<loraId>.json, and its sample images."""

from datetime import datetime

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.lora_training import BaseModelFamily, LoraConfig
from influencerai_dagster.core.object_paths import lora_manifest_key, lora_samples_key
from influencerai_dagster.core.stored_file import Sha256


class LoraManifest(Value):
    """One training and its result; the weights are immutable.

    Attributes:
        lora_id: name of the file; every training gets a new one.
        recipe_version: content hash of images, captions, config and base model.
        loss_curve: (step, running mean loss) as kohya reported it.
        sd_scripts_commit: commit of the trainer, or "unknown".
        is_simulated: made by the simulator, not by a training.
    """

    tenant: str
    lora_id: str
    dataset: str
    dataset_version: str
    captions_version: str
    recipe_version: str
    trigger_phrase: str
    config: LoraConfig
    base_model_sha256: Sha256 | None
    sd_scripts_commit: str
    is_simulated: bool
    steps: int
    final_loss: float | None
    loss_curve: tuple[tuple[int, float], ...]
    train_seconds: float
    weights_key: str
    weights_sha256: Sha256
    weights_size_bytes: int
    created_at: datetime

    @property
    def version(self) -> str:
        """The data version: the content of the weights."""
        return self.weights_sha256[:32]

    @property
    def base_model_family(self) -> BaseModelFamily:
        """The family that this LoRA fits."""
        return self.config.base_model_family

    def object_key(self) -> str:
        """Return the key of this manifest."""
        return lora_manifest_key(self.tenant, self.lora_id)


class LoraSample(Value):
    """One sample image of a LoRA."""

    prompt: str
    seed: int
    strength_model: float
    object_key: str
    sha256: Sha256
    size_bytes: int


class LoraSamplesManifest(Value):
    """The sample images of one LoRA, by strength and prompt."""

    tenant: str
    dataset: str
    lora_id: str
    samples: tuple[LoraSample, ...]
    grid_key: str

    @property
    def version(self) -> str:
        """The data version: the content hash of what was rendered."""
        return fingerprint(self.model_dump(mode="json"))

    def object_key(self) -> str:
        """Return the key of this version."""
        return lora_samples_key(self.tenant, self.lora_id, f"{self.version}.json")
