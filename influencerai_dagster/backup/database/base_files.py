"""Compare the files of a physical backup with its `backup_manifest`, as pg_verifybackup does.

Source: postgresql.org/docs/18/backup-manifest-format.html. That program is not used: the one in the
wheel of the local stack crashes, and one of another major version does not know the format.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from influencerai_dagster.errors import PermanentError

MANIFEST = "backup_manifest"
_CHUNK_BYTES = 1024**2
_CHECKSUM_FIELD = b'"Manifest-Checksum"'
_NAMED = 5


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32c:
    """CRC-32C as the manifest writes it: little-endian."""

    def __init__(self) -> None:
        import google_crc32c  # noqa: PLC0415 - of the extra 'backup'

        self._extend = google_crc32c.extend
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._extend(self._value, data)

    def hexdigest(self) -> str:
        return self._value.to_bytes(4, "little").hex()


def verify_files(folder: Path) -> int:
    """Read every file that the manifest names, and compare size and checksum.

    Args:
        folder: the data directory of a backup; of an incremental one too.

    Returns:
        How many bytes were read.

    Raises:
        PermanentError: the manifest is missing or was changed, or files are missing, too short or
            changed; the text names the first of them.
    """
    files = _manifest(folder)
    problems = [text for entry in files if (text := _problem(folder, entry)) is not None]
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise PermanentError(f"{folder}: {'; '.join(problems[:_NAMED])}{more}")
    return sum(entry["Size"] for entry in files)


def _manifest(folder: Path) -> list[dict[str, Any]]:
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PermanentError(f"{path} is missing: this backup is not complete") from None
    # The last line is the checksum of all lines before it.
    found = data.rfind(_CHECKSUM_FIELD)
    try:
        content = json.loads(data)
        is_valid = content["Manifest-Checksum"] == hashlib.sha256(data[:found]).hexdigest()
        files: list[dict[str, Any]] = content["Files"]
    except (ValueError, KeyError):
        is_valid = False
    if not is_valid:
        raise PermanentError(f"{path} was changed or cut off: its own checksum is wrong")
    return files


def _problem(folder: Path, entry: dict[str, Any]) -> str | None:
    name = entry.get("Path") or bytes.fromhex(entry["Encoded-Path"]).decode(errors="replace")
    path = folder / name
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return f"{name} is missing"
    if size_bytes != entry["Size"]:
        return f"{name} has {size_bytes} of {entry['Size']} bytes"
    if "Checksum" in entry and _checksum(path, entry["Checksum-Algorithm"]) != entry["Checksum"]:
        return f"{name} was changed: its {entry['Checksum-Algorithm']} checksum is wrong"
    return None


def _checksum(path: Path, algorithm: str) -> str:
    digest: _Hash = _Crc32c() if algorithm == "CRC32C" else hashlib.new(algorithm)
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
