"""Define the validated dataset: datasets/<tenant>/<dataset>/manifests/<version>.json."""

from typing import Annotated, Literal

from pydantic import Field

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.dataset_rules import RejectReason
from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import dataset_manifest_key
from influencerai_dagster.core.stored_file import Sha256


class Rights(Value):
    """rights.json, which the uploader puts beside the images.

    Attributes:
        subject: a drawn or generated person, or a real one who consented.
        evidence: reference to the consent or to how the subject was made.
        licence: SPDX identifier or a text.
    """

    subject: Literal["synthetic", "consented"]
    evidence: Annotated[str, Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]


class DatasetImage(Value):
    """One accepted upload; width and height are those after its EXIF orientation was applied."""

    file_name: str
    object_key: str
    size_bytes: int
    sha256: Sha256
    format: str
    width_px: int
    height_px: int
    perceptual_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    caption_object_key: str | None = None
    caption_sha256: Sha256 | None = None


class RejectedUpload(Value):
    """One upload that is not part of the dataset; the object stays."""

    file_name: str
    reason: RejectReason
    detail: str


class DatasetManifest(Value):
    """A validated dataset; `version` is the content hash of all other fields."""

    tenant: str
    dataset: str
    version: str
    images: tuple[DatasetImage, ...]
    rejected: tuple[RejectedUpload, ...]
    rights: Rights | None

    @classmethod
    def build(
        cls,
        key: DatasetKey,
        *,
        images: tuple[DatasetImage, ...],
        rejected: tuple[RejectedUpload, ...],
        rights: Rights | None,
    ) -> "DatasetManifest":
        """Make the manifest with its version."""
        unversioned = cls(
            tenant=key.tenant,
            dataset=key.dataset,
            version="",
            images=images,
            rejected=rejected,
            rights=rights,
        )
        return unversioned.model_copy(
            update={
                "version": fingerprint(unversioned.model_dump(mode="json", exclude={"version"}))
            }
        )

    @property
    def key(self) -> DatasetKey:
        """The dataset that the manifest describes."""
        return DatasetKey(self.tenant, self.dataset)

    def object_key(self) -> str:
        """Return the key of this version."""
        return dataset_manifest_key(self.key, self.version)
