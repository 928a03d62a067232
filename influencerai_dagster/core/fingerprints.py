"""Hash content: the data versions of every asset.

The same content has the same version on every machine.
"""

import hashlib
import json
from typing import Any

VERSION_LENGTH = 32


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the content hash of a JSON value, 32 hex digits; key order does not matter.

    Raises:
        ValueError: the value holds NaN or infinity.
        TypeError: the value is not JSON.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return sha256_hex(text.encode())[:VERSION_LENGTH]
