"""One object on S3, as manifests name it."""

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.manifests.dataset import Sha256


class StoredFile(Value):
    """One object on S3 and what it must be when it is read."""

    object_key: str
    sha256: Sha256
    size_bytes: int
