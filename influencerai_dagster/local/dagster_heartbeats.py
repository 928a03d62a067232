"""Check Dagster's daemon: each of its threads writes a heartbeat into Dagster's database.

Dagster 1.13 reports a stalled daemon only after half an hour, and only in its UI. This is
SQL on one of its tables (dagster/_core/storage/runs/schema.py).
"""

from sqlalchemy import Engine, text

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import InfluencerAIError

FRESH_SECONDS = 90.0
"""Every thread writes each 30 s."""

# The threads of the process that wrote last: rows of earlier ones stay. A server that takes no
# writes tells nothing. Dagster's timestamps are UTC without a zone.
_IS_SILENT = text("""
SELECT min(timestamp) < now() AT TIME ZONE 'utc' - make_interval(secs => :fresh_seconds)
       AND current_setting('transaction_read_only') = 'off'
  FROM daemon_heartbeats
 WHERE daemon_id = (SELECT daemon_id FROM daemon_heartbeats ORDER BY timestamp DESC LIMIT 1)
""")


def is_daemon_alive(engine: Engine, *, fresh_seconds: float = FRESH_SECONDS) -> bool:
    """Tell whether every thread of the daemon has lately written its heartbeat.

    Args:
        engine: of Dagster's database; while it cannot be asked, the daemon counts as alive.
        fresh_seconds: what "lately" is.
    """
    try:
        with transaction(engine) as session:
            return not session.scalar(_IS_SILENT, {"fresh_seconds": fresh_seconds})
    except InfluencerAIError:
        return True
