"""What the assets of retention show in the UI: what may go and why, then what went."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from influencerai_dagster.orchestration.metadata import Metadata, table
from influencerai_dagster.orchestration.retention.dagster_events import OldEvents
from influencerai_dagster.orchestration.retention.dagster_pruning import KEEP_RUNS, DagsterLeftovers
from influencerai_dagster.retention.deletion import Deletions, PlannedObject, RetentionPlan
from influencerai_dagster.retention.rules import Fate

_FATES = (Fate.DELETE, Fate.REMOVE, Fate.WAIT)
_OLD = f"older than {KEEP_RUNS.days} days"


@dataclass(frozen=True)
class Findings:
    """What retention looked at; nothing is deleted yet.

    Attributes:
        num_responses: cached responses of language models that have expired.
    """

    plan: RetentionPlan
    leftovers: DagsterLeftovers
    events: OldEvents
    num_responses: int


def report_metadata(found: Findings, *, is_dry_run: bool) -> Metadata:
    """Return what may go and why."""
    plan = found.plan
    counts: Metadata = {}
    for fate in Fate:
        items = plan.of(fate)
        counts[f"num_{fate}"] = len(items)
        counts[f"{fate}_bytes"] = sum(item.size_bytes for item in items)
    return {
        "in_short": _in_short(plan, is_dry_run=is_dry_run),
        "is_dry_run": is_dry_run,
        **counts,
        "summary": table(plan.summary()),
        **{
            f"to_{fate}" if fate is not Fate.WAIT else "waiting": _objects(plan.of(fate))
            for fate in _FATES
        },
        "kept_on_hold": _objects([i for i in plan.of(Fate.KEEP) if "hold" in i.verdict.reason]),
        "left_behind": _left_behind(plan),
        "days_to_remove": _days(found.leftovers.days),
        "records_to_delete": _records(found.leftovers, found.events, found.num_responses),
        "num_old_runs_with_a_last_materialization": found.leftovers.num_kept,
    }


def _in_short(plan: RetentionPlan, *, is_dry_run: bool) -> str:
    def told(fate: Fate) -> str:
        items = plan.of(fate)
        return f"{len(items):,} ({sum(item.size_bytes for item in items):,} bytes)"

    start = "A dry run, nothing is deleted." if is_dry_run else "No dry run."
    return (
        f"{start} Objects that may be deleted in the catalog now, their bytes stay for the "
        f"recovery window: {told(Fate.DELETE)}. Deleted before and waiting for it: "
        f"{told(Fate.WAIT)}. Whose bytes may go now: {told(Fate.REMOVE)}. That are kept: "
        f"{told(Fate.KEEP)}."
    )


def deletions_metadata(
    done: Deletions, gone: DagsterLeftovers, events: OldEvents, num_responses: int
) -> Metadata:
    """Return what went."""
    return {
        "is_dry_run": False,
        "num_deleted": len(done.deleted),
        "num_removed": len(done.removed),
        "removed_bytes": sum(done.removed.values()),
        "deleted": table([{"object": key} for key in done.deleted]),
        "removed": table([{"object": key, "bytes": size} for key, size in done.removed.items()]),
        "spared": table([{"object": key} for key in done.spared]),
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
    """Return what is no object, by kind."""
    rows: list[tuple[str, int, str]] = [
        ("days' partitions", len(leftovers.days), "nothing is left of the day"),
        ("runs, with their events", len(leftovers.run_ids), f"ended and {_OLD}"),
        ("events without a run", len(events.event_ids), f"{_OLD} and not the newest of their kind"),
        (
            "outcomes of checks",
            len(events.outcome_ids),
            f"{_OLD} and not the newest of the check, or their partition is gone",
        ),
        ("answers of language models", num_responses, "expired (OPENROUTER_CACHE_TTL)"),
    ]
    return table([{"what": what, "number": num, "why": why} for what, num, why in rows if num])


def _objects(items: Sequence[PlannedObject]) -> dg.TableMetadataValue | str:
    return table(
        [
            {
                "object": item.key,
                "bytes": item.size_bytes,
                "why": item.verdict.reason,
                "bytes may go (UTC)": f"{item.verdict.due:%Y-%m-%d}" if item.verdict.due else "",
            }
            for item in items
        ]
    )
