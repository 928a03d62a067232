"""Describe one object on S3, as manifests name it."""

from typing import Annotated

from pydantic import Field

from influencerai_dagster.core.base import Value

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StoredFile(Value):
    """One object on S3, with the size and hash that it must have when it is read."""

    object_key: str
    sha256: Sha256
    size_bytes: int
