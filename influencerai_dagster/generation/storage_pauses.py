"""A full object store: claims stop, renders wait, and all goes on by itself.

An upload that finds no space says so in the catalog (`report_full`); then no job is claimed.
Whoever workers, and a sensor where nobody does, tries every few seconds whether there is space.
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
    """Stop the claims; a catalog that is away is told with the next try of the upload."""
    _log.warning("no jobs are claimed until there is space: %s", error)
    with suppress(InfluencerAIError), transaction(engine) as session:
        storage_pauses.report_full(session, bucket, str(error))


def try_resume(
    engine: Engine,
    store: ObjectStore,
    *,
    every_seconds: float | None = None,
    probe_bytes: int = PROBE_BYTES,
) -> bool:
    """Try whether there is space, if nobody did for a while; end the pause if there is.

    Args:
        every_seconds: somebody tries that often; None for PROBE_SECONDS.
        probe_bytes: there is space if so much can be written.

    Returns:
        Whether the pause was ended by this call.
    """
    seconds = PROBE_SECONDS if every_seconds is None else every_seconds
    with transaction(engine) as session:
        if not storage_pauses.take_probe(session, store.bucket, every_seconds=seconds):
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
