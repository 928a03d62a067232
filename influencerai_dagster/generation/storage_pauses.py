"""Pause all claims while the object store is full, and resume them when there is space.

An upload that finds no space reports it in the catalog (`report_full`); then no job is claimed.
Every few seconds a worker, or a sensor if there is none, tries whether there is space.
"""

import logging
import random
from contextlib import suppress
from uuid import uuid4

from sqlalchemy import Engine

from influencerai_dagster.core.object_paths import access_check_key
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.storage.object_store import ObjectStore

PROBE_BYTES = 16 * 1024**2
"""Space for a kilobyte is not space for a video: a smaller probe would start and stop the work."""
PROBE_SECONDS = 15.0

_log = logging.getLogger(__name__)


def report_full(engine: Engine, bucket: str, error: InfluencerAIError) -> None:
    """Pause the claims; while the catalog is away, the next attempt of the upload reports again."""
    _log.warning("no jobs are claimed until there is space: %s", error)
    with suppress(InfluencerAIError), transaction(engine) as session:
        storage_pauses.report_full(session, bucket, str(error))


def try_resume(
    engine: Engine,
    store: ObjectStore,
    *,
    every_seconds: float = PROBE_SECONDS,
    probe_bytes: int = PROBE_BYTES,
) -> bool:
    """End the pause if there is space; only one process tries in every_seconds.

    Args:
        engine: of the catalog.
        store: the bucket.
        every_seconds: between two attempts of all processes together.
        probe_bytes: there is space if an object of this size can be written.

    Returns:
        Whether the pause was ended by this call.
    """
    with transaction(engine) as session:
        if not storage_pauses.take_probe(session, store.bucket, every_seconds=every_seconds):
            return False
    key = access_check_key(uuid4())
    try:
        # Zeros would cost a compressing file system nothing.
        store.put_latest(key, random.randbytes(probe_bytes))  # noqa: S311 - not a secret
    except InfluencerAIError as error:
        _log.info("still no space: %s", error)
        return False
    finally:
        with suppress(InfluencerAIError):
            store.delete(key)
    with transaction(engine) as session:
        storage_pauses.end_pause(session, store.bucket)
    return True
