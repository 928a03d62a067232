"""Check the tags of a run: some may be set only by a job's definition or by Dagster itself.

The caller of a launch chooses tags, and some control Dagster: on Kubernetes `dagster-k8s/config`
names the image and the command of the run's container. Every run is checked when it is submitted
(coordinator.py), whether by GraphQL, the UI, a sensor, a backfill or a retry.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from influencerai_dagster.core.dagster_names import MAX_RETRIES_TAG, MAX_RUNTIME_TAG, NO_RETRIES
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.orchestration.jobs import JOBS

_OF_LAUNCHERS = re.compile(r"(dagster-[^/]+|docker|ecs)/")
_JOB_TAGS = {
    job_name: {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (job.tags or {}).items()
    }
    for job_name, job in JOBS.items()
}
"""The tags of each job's definition, as its runs have them."""

_LAST_START = 1_000_000
"""The position of a run among its tenant's queued runs is a small number: coordinator.py."""
_NOT_RETRIED = {**NO_RETRIES, "dagster/failure_reason": "UNKNOWN"}


@dataclass(frozen=True)
class TagLimits:
    """The greatest number that a tag of a run may hold; None sets no limit."""

    max_runtime_seconds: int | None
    max_retries: int | None


def refusal(job_name: str, tags: Mapping[str, str], limits: TagLimits) -> str | None:
    """Return why a run with these tags is refused; None if it is not."""
    greatest = {
        MAX_RUNTIME_TAG: limits.max_runtime_seconds,
        "dagster/max_runtime_seconds": limits.max_runtime_seconds,
        MAX_RETRIES_TAG: limits.max_retries,
        "start_tag": _LAST_START,
    }
    for name, value in tags.items():
        if _JOB_TAGS.get(job_name, {}).get(name) == value:
            continue
        if _OF_LAUNCHERS.match(name):
            return f"tag {name} chooses the container that a run has, and cannot be set at launch"
        if name == "dagster/failure_reason":
            return f"tag {name} is Dagster's own, and cannot be set at launch"
        limit = greatest.get(name)
        if limit is not None and not (re.fullmatch("[0-9]{1,9}", value) and int(value) <= limit):
            return f"tag {name} has to be a whole number up to {limit} (found {value[:40]!r})"
    return None


def check_tags(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Refuse a run for its tags.

    Raises:
        PermanentError: the run must not start; Dagster fails it with this text, and returns the
            text to the caller.
    """
    limits = TagLimits(
        max_runtime_seconds=instance.run_monitoring_max_runtime_seconds or None,
        max_retries=instance.run_retries_max_retries,
    )
    reason = refusal(run.job_name, run.tags, limits)
    if reason is not None:
        # Dagster reads both tags when it fails the run: a refused run is not retried.
        instance.add_run_tags(run.run_id, _NOT_RETRIED)
        raise PermanentError(
            f"run {run.run_id} of {run.job_name} is not started: {reason}. Launch it "
            "without that tag."
        )
