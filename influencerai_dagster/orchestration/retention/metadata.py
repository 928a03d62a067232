"""Show retention in the Dagster UI: what may be deleted and why, then what was deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from influencerai_dagster.orchestration.metadata import Metadata, table
from influencerai_dagster.orchestration.retention.dagster_events import OldEvents
from influencerai_dagster.orchestration.retention.dagster_pruning import KEEP_RUNS, DagsterLeftovers
from influencerai_dagster.retention.deletion import Deletions, PlannedObject, RetentionPlan
from influencerai_dagster.retention.rules import RetentionAction

_SHOWN = (RetentionAction.DELETE, RetentionAction.REMOVE, RetentionAction.WAIT)
_OLD = f"older than {KEEP_RUNS.days} days"


@dataclass(frozen=True)
class Findings:
    """All that retention may delete; nothing is deleted yet.

    Attributes:
        num_responses: cached responses of language models that have expired.
    """

    plan: RetentionPlan
    leftovers: DagsterLeftovers
    events: OldEvents
    num_responses: int


def report_metadata(found: Findings, *, is_dry_run: bool) -> Metadata:
    """Return what may be deleted and why."""
    plan = found.plan
    counts: Metadata = {}
    for action in RetentionAction:
        items = plan.of(action)
        counts[f"num_{action}"] = len(items)
        counts[f"{action}_bytes"] = sum(item.size_bytes for item in items)
    return {
        "in_short": _in_short(plan, is_dry_run=is_dry_run),
        "is_dry_run": is_dry_run,
        **counts,
        "summary": table(plan.summary()),
        **{
            f"to_{action}" if action is not RetentionAction.WAIT else "waiting": _objects(
                plan.of(action)
            )
            for action in _SHOWN
        },
        "kept_on_hold": _objects(
            [item for item in plan.of(RetentionAction.KEEP) if item.decision.is_on_hold]
        ),
        "left_behind": _left_behind(plan),
        "days_to_remove": _days(found.leftovers.days),
        "records_to_delete": _records(found.leftovers, found.events, found.num_responses),
        "num_old_runs_with_a_last_materialization": found.leftovers.num_kept,
    }


def _in_short(plan: RetentionPlan, *, is_dry_run: bool) -> str:
    def size(action: RetentionAction) -> str:
        items = plan.of(action)
        return f"{len(items):,} ({sum(item.size_bytes for item in items):,} bytes)"

    start = "Dry run: nothing is deleted." if is_dry_run else "Not a dry run."
    return (
        f"{start} To delete in the catalog now, the bytes stay for the recovery window: "
        f"{size(RetentionAction.DELETE)}. Deleted earlier, the bytes still stay: "
        f"{size(RetentionAction.WAIT)}. Bytes to remove now: {size(RetentionAction.REMOVE)}. "
        f"Kept: {size(RetentionAction.KEEP)}."
    )


def deletions_metadata(
    done: Deletions, gone: DagsterLeftovers, events: OldEvents, num_responses: int
) -> Metadata:
    """Return what was deleted."""
    return {
        "is_dry_run": False,
        "num_deleted": len(done.deleted),
        "num_removed": len(done.removed),
        "removed_bytes": sum(done.removed.values()),
        "deleted": table([{"object": key} for key in done.deleted]),
        "removed": table([{"object": key, "bytes": size} for key, size in done.removed.items()]),
        "skipped": table([{"object": key} for key in done.skipped]),
        "ended_uploads": table([{"upload": key} for key in done.aborted]),
        "removed_days": _days(gone.days),
        "deleted_records": _records(gone, events, num_responses),
    }


def _left_behind(plan: RetentionPlan) -> dg.TableMetadataValue | str:
    rows: list[dict[str, str | int | float]] = [
        {
            "what": "scratch object",
            "key": key,
            "why": "a check or a probe wrote it more than a day ago and was stopped",
        }
        for key in plan.scratch_keys
    ]
    rows += [
        {
            "what": "multipart upload",
            "key": upload.key,
            "why": f"begun {upload.started_at:%Y-%m-%d %H:%M} UTC and never completed",
        }
        for upload in plan.uploads
    ]
    return table(rows)


def _days(keys: Sequence[str]) -> dg.TableMetadataValue | str:
    why = "past its days, and it has no object, no open job and no run"
    return table([{"partition": key, "why": why} for key in keys])


def _records(
    leftovers: DagsterLeftovers, events: OldEvents, num_responses: int
) -> dg.TableMetadataValue | str:
    """Return the numbers of partitions and rows to delete, by kind."""
    rows: list[tuple[str, int, str]] = [
        ("days' partitions", len(leftovers.days), "nothing is left of the day"),
        ("runs, with their events", len(leftovers.run_ids), f"ended and {_OLD}"),
        ("events without a run", len(events.event_ids), f"{_OLD} and not the newest of their kind"),
        (
            "outcomes of checks",
            len(events.outcome_ids),
            f"{_OLD} and not the newest of the check, or their partition is gone",
        ),
        ("cached responses of language models", num_responses, "expired (OPENROUTER_CACHE_TTL)"),
    ]
    return table([{"what": what, "number": num, "why": why} for what, num, why in rows if num])


def _objects(items: Sequence[PlannedObject]) -> dg.TableMetadataValue | str:
    return table(
        [
            {
                "object": item.key,
                "bytes": item.size_bytes,
                "why": item.decision.reason,
                "bytes stay until (UTC)": f"{item.decision.due:%Y-%m-%d}"
                if item.decision.due
                else "",
            }
            for item in items
        ]
    )
