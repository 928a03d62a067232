"""Check for `influencerai doctor` that the bucket can be written, read, linked and deleted from."""

from collections.abc import Sequence
from uuid import uuid4

import httpx

from influencerai_dagster.core.object_paths import access_check_key
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.http_clients import client_options
from influencerai_dagster.storage.object_store import ObjectStore

_LINK_SECONDS = 60


def access_problems(store: ObjectStore) -> Sequence[str]:
    """Write, read, link and delete a scratch object; return a text for each step that fails."""
    key = access_check_key(uuid4())
    data = key.encode()
    try:
        stored = store.put_new(key, data)
    except InfluencerAIError as error:
        return [f"write: {error}"]
    problems = []
    try:
        store.read(stored)
    except InfluencerAIError as error:
        problems.append(f"read: {error}")
    link_problem = _link_problem(store, key, data)
    if link_problem is not None:
        problems.append(f"presigned link: {link_problem}")
    try:
        store.delete(key)
        if store.head(key) is not None:
            problems.append(
                f"delete: {key!r} is still in bucket {store.bucket!r} after its deletion"
            )
    except InfluencerAIError as error:
        problems.append(f"delete: {error}")
    return problems


def _link_problem(store: ObjectStore, key: str, data: bytes) -> str | None:
    url = store.presign_get(key, expires_seconds=_LINK_SECONDS)
    advice = "check S3_ENDPOINT, S3_REGION, S3_FORCE_PATH_STYLE and this machine's clock"
    try:
        with httpx.Client(timeout=10, **client_options(url)) as client:
            response = client.get(url)
    except httpx.HTTPError as error:
        return f"{url.split('?')[0]} did not answer: {error}; {advice}"
    if response.status_code != httpx.codes.OK or response.content != data:
        return f"{url.split('?')[0]} answered HTTP {response.status_code}; {advice}"
    return None
