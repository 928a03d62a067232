"""Manifests on S3: how every stage publishes its own and reads another's.

What a manifest holds lives in domain/manifests/; the IO manager calls these two functions.
"""

from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from influencerai_dagster.core.stored_file import (
    StoredFile,
)
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import WriteOnceStore


class Manifest(Protocol):
    """What every manifest can tell: its data version and where it is kept."""

    @property
    def version(self) -> str:
        """The content hash that is the asset's data version."""

    def object_key(self) -> str:
        """Return where this version is kept."""

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the manifest as JSON."""


ModelT = TypeVar("ModelT", bound=BaseModel)


def publish(store: WriteOnceStore, manifest: Manifest) -> StoredFile:
    """Write a manifest under its immutable key; the same content again is no second write.

    Raises:
        PermanentError: another content is there already.
        TransientError: S3 did not answer; nothing is published.
    """
    return store.put_new(
        manifest.object_key(),
        manifest.model_dump_json(indent=2).encode(),
        content_type="application/json",
    )


def load(store: WriteOnceStore, stored: StoredFile, model: type[ModelT]) -> ModelT:
    """Read a manifest and check that it is the one that was stored.

    Raises:
        ObjectNotFoundError: it is gone.
        PermanentError: its size or hash is another, or it is not such a manifest.
    """
    return _parse(store.read(stored), stored.object_key, model)


def load_latest(store: WriteOnceStore, object_key: str, model: type[ModelT]) -> ModelT:
    """Read a manifest that only its key is known of, as `load` does but for size and hash."""
    return _parse(store.get(object_key), object_key, model)


def _parse(data: bytes, object_key: str, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise PermanentError(
            f"{object_key} is not a {model.__name__}: {error.error_count()} problems, "
            f"the first: {error.errors()[0]['msg']}. Materialize the asset that writes it again."
        ) from error
