"""Publish and load manifests, the JSON objects that say which bytes belong together.

The function that makes a manifest publishes it, after all bytes that it names. Nobody else writes
one: the IO manager only loads. What a manifest holds lives in core/manifests/.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.contents import describe
from influencerai_dagster.storage.object_store import WriteOnceStore


class Manifest(Protocol):
    """A value with a data version that is stored under a key of its own."""

    @property
    def version(self) -> str:
        """The content hash that is the asset's data version."""

    def object_key(self) -> str:
        """Return the immutable key of this version."""

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the manifest as JSON."""


ManifestT_co = TypeVar("ManifestT_co", covariant=True)
ManifestT = TypeVar("ManifestT", bound=Manifest)
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Published(Generic[ManifestT_co]):
    """A manifest and the object that it is stored in."""

    manifest: ManifestT_co
    stored: StoredFile


def publish(store: WriteOnceStore, manifest: ManifestT) -> Published[ManifestT]:
    """Write a manifest under its immutable key; the same content there already is fine.

    Raises:
        PermanentError: other content is there.
        TransientError: S3 did not answer; call again.
    """
    data = manifest.model_dump_json(indent=2).encode()
    stored = store.put_new(manifest.object_key(), data, content_type="application/json")
    return Published(manifest, stored)


def load(store: WriteOnceStore, stored: StoredFile, model: type[ModelT]) -> ModelT:
    """Read a manifest whose size and hash are recorded, and check both.

    Raises:
        ObjectNotFoundError: it is gone.
        PermanentError: its size or hash differs, or it is not such a manifest.
    """
    return _parse(store.read(stored), stored.object_key, model)


def load_unverified(
    store: WriteOnceStore, object_key: str, model: type[ModelT]
) -> Published[ModelT]:
    """Read a manifest of which only the key is recorded; its SHA-256 is not checked.

    The bytes are those that S3 announced (`ObjectStore.get`).

    Raises:
        ObjectNotFoundError: it is gone.
        PermanentError: it is not such a manifest.
    """
    data = store.get(object_key)
    return Published(_parse(data, object_key, model), describe(object_key, data))


def _parse(data: bytes, object_key: str, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise PermanentError(
            f"{object_key} is not a {model.__name__}: {error.error_count()} problems, "
            f"the first: {error.errors()[0]['msg']}. Materialize the asset that writes it again."
        ) from error
