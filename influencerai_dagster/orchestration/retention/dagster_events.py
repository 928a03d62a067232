"""Delete what Dagster keeps for ever besides runs: events without a run, outcomes of checks.

Sensors report observations and checks without a run, and deleting a run leaves the outcomes of its
checks. Dagster 1.13 has neither a setting nor a call that deletes them, so this is SQL on three of
its tables (dagster/_core/storage/event_log/schema.py). The newest event of each kind, asset and
partition stays, and the newest outcome of each check and partition: it is what the UI shows. Runs
and partitions are pruned in dagster_pruning.py; ticks by dagster.yaml, evaluations of automation
by Dagster's daemon (after 30 days).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError

BATCH_ROWS = 1000
_MOST = 100_000
"""At most so many in one run of retention; the next day's run takes the next ones."""

# Dagster's timestamps are UTC without a zone.
_BEFORE = "CAST(:before AS timestamptz) AT TIME ZONE 'utc'"

# A check that was planned and never ran is not kept, nor one of a partition that is gone.
_OLD_OUTCOMES = text(f"""
SELECT id FROM (
  SELECT id, partition, coalesce(evaluation_event_timestamp, create_timestamp) AS at,
         max(id) FILTER (WHERE execution_status IN ('SUCCEEDED', 'FAILED'))
           OVER (PARTITION BY asset_key, check_name, partition) AS newest
    FROM asset_check_executions) AS outcomes
 WHERE at < {_BEFORE}
   AND (id < newest OR partition = ANY(:ending) OR (partition IS NOT NULL AND NOT EXISTS (
         SELECT FROM dynamic_partitions WHERE dynamic_partitions.partition = outcomes.partition)))
 ORDER BY id LIMIT :most
""")  # noqa: S608 - a constant

_OLD_EVENTS = text(f"""
SELECT id FROM (
  SELECT id, timestamp, asset_key,
         max(id) OVER (PARTITION BY asset_key, dagster_event_type, partition) AS newest
    FROM event_logs
   WHERE run_id = '' AND dagster_event_type <> 'ASSET_CHECK_EVALUATION') AS events
 WHERE asset_key IS NOT NULL AND timestamp < {_BEFORE} AND id < newest
UNION ALL
SELECT id FROM event_logs
 WHERE run_id = '' AND dagster_event_type = 'ASSET_CHECK_EVALUATION' AND timestamp < {_BEFORE}
   AND NOT EXISTS (SELECT FROM asset_check_executions AS kept
         WHERE kept.evaluation_event_storage_id = event_logs.id AND kept.id <> ALL(:outcomes))
 ORDER BY id LIMIT :most
""")  # noqa: S608 - a constant

_DELETE_OUTCOMES = ("DELETE FROM asset_check_executions WHERE id = ANY(:ids)",)
_DELETE_EVENTS = (
    "DELETE FROM asset_event_tags WHERE event_id = ANY(:ids)",
    "DELETE FROM event_logs WHERE id = ANY(:ids)",
)


@dataclass(frozen=True)
class OldEvents:
    """Ids of rows to delete: events without a run, and outcomes of checks."""

    event_ids: Sequence[int] = ()
    outcome_ids: Sequence[int] = ()


def find_old_events(engine: Engine, before: datetime, ending: Sequence[str] = ()) -> OldEvents:
    """Find what is older than a time; writes nothing.

    Args:
        engine: of Dagster's database.
        before: with its time zone.
        ending: partitions that count as gone: the same run removes them later.

    Raises:
        PermanentError: the tables are not those of Dagster 1.13.
    """
    values = {"before": before, "most": _MOST, "ending": list(ending)}
    try:
        with transaction(engine) as session:
            outcomes = list(session.scalars(_OLD_OUTCOMES, values))
            events = list(session.scalars(_OLD_EVENTS, values | {"outcomes": outcomes}))
    except PermanentError as error:
        raise PermanentError(
            "Dagster's tables at DAGSTER_DATABASE_URL cannot be read as those of Dagster 1.13; "
            f"was it upgraded? ({error.__cause__})"
        ) from error
    return OldEvents(events, outcomes)


def delete_old_events(engine: Engine, found: OldEvents, *, batch_rows: int = BATCH_ROWS) -> None:
    """Delete what was found, in small transactions; may be called again at any time."""
    for ids, statements in (
        (found.outcome_ids, _DELETE_OUTCOMES),
        (found.event_ids, _DELETE_EVENTS),
    ):
        for start in range(0, len(ids), batch_rows):
            with transaction(engine) as session:
                for statement in statements:
                    session.execute(text(statement), {"ids": ids[start : start + batch_rows]})
