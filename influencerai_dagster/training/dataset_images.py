"""Read the images and captions of a validated dataset, as the stages after it receive them.

An upload that changed since its dataset was scanned is refused. The uploads in memory are limited,
however many threads and runs of one machine read.
"""

from pathlib import Path

from PIL import Image

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.manifests.dataset import DatasetImage
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.contact_sheets import thumbnail
from influencerai_dagster.media.images import normalised_image
from influencerai_dagster.media.memory_budget import MemoryBudget
from influencerai_dagster.storage.object_store import ObjectStore

READING = MemoryBudget("reading", 512 * 1024**2)
"""Bytes of uploads in memory. Its holder may ask for memory to decode, never the reverse."""
_COPY_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".png"}


def read_image(store: ObjectStore, image: DatasetImage) -> bytes:
    """Return an accepted upload, if it is still the one that the scan measured.

    Raises:
        PermanentError: it was replaced or removed since.
    """
    return _unchanged(store, image.object_key, image.sha256)


def read_caption(store: ObjectStore, image: DatasetImage) -> bytes:
    """Return the sidecar caption of an image that has one, as `read_image` does."""
    return _unchanged(store, image.caption_object_key or "", image.caption_sha256)


def copy_name(index: int, image: DatasetImage) -> str:
    """Return the name of an image's copy in a folder that a program reads.

    Numbered, so that two uploads with one stem (a.jpg, a.png) keep a caption each, and with the
    ending of its format, which an upload need not have.
    """
    return f"img{index:05d}{_COPY_SUFFIXES[image.format]}"


def write_copy(
    store: ObjectStore, image: DatasetImage, path: Path, *, max_side_px: int | None = None
) -> None:
    """Write an accepted upload to a file as training receives it (`normalised_image`).

    Raises:
        PermanentError: it was replaced or removed since the scan.
    """
    with READING.hold(image.size_bytes):
        path.write_bytes(normalised_image(read_image(store, image), max_side_px=max_side_px))


def image_thumbnail(store: ObjectStore, image: DatasetImage, side_px: int) -> Image.Image:
    """Return a small square image of an upload, even if it was replaced since the scan."""
    with READING.hold(image.size_bytes):
        return thumbnail(store.get(image.object_key), side_px)


def _unchanged(store: ObjectStore, object_key: str, sha256: str | None) -> bytes:
    data = store.get(object_key)
    if sha256_hex(data) != sha256 and (listed := store.head(object_key)) is not None:
        data = store.get(listed)  # an answer that was cut differs from the size of the listing
    if sha256_hex(data) != sha256:
        raise PermanentError(
            f"upload {object_key} was replaced after its dataset was scanned. Materialize "
            "`dataset` again."
        )
    return data
