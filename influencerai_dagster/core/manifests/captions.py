"""Define the captions of a dataset: datasets/<tenant>/<dataset>/captions/<version>.json."""

from enum import StrEnum

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import captions_manifest_key
from influencerai_dagster.core.refused_images import RefusedImage

MAX_CAPTION_LENGTH = 1000


class CaptionSource(StrEnum):
    """The author of a caption."""

    SIDECAR = "sidecar"
    BLIP = "blip"
    WD14 = "wd14"
    OPENROUTER = "openrouter"
    CLASS = "class"


class Caption(Value):
    """The caption of one image: one line of UTF-8, the trigger phrase first."""

    file_name: str
    text: str
    source: CaptionSource


class CaptionsManifest(Value):
    """Captions of one dataset version; `version` is the content hash of all other fields.

    Attributes:
        refused: images that the captioner refused; they have the class caption.
    """

    tenant: str
    dataset: str
    version: str
    dataset_version: str
    trigger_phrase: str
    captions: tuple[Caption, ...]
    refused: tuple[RefusedImage, ...] = ()

    @classmethod
    def build(
        cls,
        key: DatasetKey,
        *,
        dataset_version: str,
        trigger_phrase: str,
        captions: tuple[Caption, ...],
        refused: tuple[RefusedImage, ...] = (),
    ) -> "CaptionsManifest":
        """Make the manifest with its version."""
        unversioned = cls(
            tenant=key.tenant,
            dataset=key.dataset,
            version="",
            dataset_version=dataset_version,
            trigger_phrase=trigger_phrase,
            captions=captions,
            refused=refused,
        )
        # Without "refused" if there is none, so that the versions of older manifests stay the same.
        left_out = {"version"} if refused else {"version", "refused"}
        return unversioned.model_copy(
            update={"version": fingerprint(unversioned.model_dump(mode="json", exclude=left_out))}
        )

    @property
    def key(self) -> DatasetKey:
        """The dataset whose captions these are."""
        return DatasetKey(self.tenant, self.dataset)

    def object_key(self) -> str:
        """Return the key of this version."""
        return captions_manifest_key(self.key, self.version)
