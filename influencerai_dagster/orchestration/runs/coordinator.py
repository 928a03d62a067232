"""Order Dagster's run queue: the class that dagster.yaml names as `run_coordinator`.

Every run gets its priority when it is submitted: by a sensor, automation, a backfill, an operator
or the GraphQL API. Stages have bands of `dagster/priority`: renders first, because a tenant waits
for an image; then backups and retention, which are few; then trainings; datasets last. Within
trainings and within datasets, tenants share the runs by start-time fair queueing, each run at a
cost of 1: one tenant's mass upload delays another's dataset by the runs that are in progress.
A run that would be the next of the queue is launched at once (immediate_launch.py).
Source: as in generation/queue/fairness.py, which does the same for renders.
"""

from collections.abc import Mapping

import dagster as dg

from influencerai_dagster.core.dagster_names import (
    PARTITION_TAG,
    PRIORITY_TAG,
    STAGE_TAG,
    TENANT_TAG,
)
from influencerai_dagster.core.job_states import OUTPUT_FOLDERS
from influencerai_dagster.core.keys import tenant_of_partition
from influencerai_dagster.orchestration.jobs import STAGE_OF_ASSET
from influencerai_dagster.orchestration.run_states import ALIVE, IN_PROGRESS
from influencerai_dagster.orchestration.runs.immediate_launch import launch_at_once
from influencerai_dagster.orchestration.runs.tags import check_tags

START_TAG = "start_tag"
"""When the run may start, in runs of its tenant: the virtual time of fair queueing."""

BAND_WIDTH = 1_000_000
BANDS = {
    **dict.fromkeys(OUTPUT_FOLDERS, 3),
    "backups": 2,
    "retention": 2,
    "loras": 1,
    "datasets": 0,
}
"""Stage → number of its band; a run without a stage is in the last one."""
_SHARED_BY_TENANTS = {"loras", "datasets"}
_NUM_NEWEST = 20


class FairRunCoordinator(dg.QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's queue of runs, in the order that this module describes."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Tag the run with its tenant, stage and priority; launch it, or queue it.

        A run that has a priority keeps it: a retry keeps its position, and an operator may set one.
        A run with a forbidden tag is refused with a PermanentError (tags.py).
        """
        run = context.dagster_run
        check_tags(self._instance, run)
        tags = queue_tags(self._instance, run)
        self._instance.add_run_tags(run.run_id, tags)
        launched = launch_at_once(self._instance, context, {**run.tags, **tags})
        return launched or super().submit_run(context)


def queue_tags(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str]:
    """Return the tags that a run needs in the queue and does not have yet."""
    tags = _facts(run)
    if PRIORITY_TAG not in run.tags:
        start = _start_tag(instance, tags)
        tags[PRIORITY_TAG] = str(priority_of(tags.get(STAGE_TAG, ""), start or 0))
        if start is not None:
            tags[START_TAG] = str(start)
    return {name: value for name, value in tags.items() if name not in run.tags}


def priority_of(stage: str, behind: float) -> int:
    """Return the `dagster/priority` of a run.

    Args:
        stage: a key of `BANDS`.
        behind: how far behind the first of its band it is, 0 or more.
    """
    first = (BANDS.get(stage, 0) + 1) * BAND_WIDTH
    return first - min(max(round(behind), 0), BAND_WIDTH - 1)


def _facts(run: dg.DagsterRun) -> dict[str, str]:
    """Return a run's stage and tenant, if its tags, assets or partition name them."""
    names = {key.to_user_string() for key in run.asset_selection or ()}
    stages = [stage for asset, stage in STAGE_OF_ASSET.items() if asset in names]
    stage = run.tags.get(STAGE_TAG) or max(stages, key=BANDS.__getitem__, default=None)
    tenant = tenant_of_partition(run.tags.get(PARTITION_TAG, ""))
    return {name: value for name, value in ((STAGE_TAG, stage), (TENANT_TAG, tenant)) if value}


def _start_tag(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> int | None:
    """Return the virtual time at which a run may start: now, or after its tenant's last run.

    "Now" is the newest start among the runs of the stage that are in progress. None for runs that
    are not shared by tenants in this way.
    """
    stage, tenant = tags.get(STAGE_TAG), tags.get(TENANT_TAG)
    if stage not in _SHARED_BY_TENANTS or tenant is None:
        return None
    in_progress = _starts(instance, IN_PROGRESS, {STAGE_TAG: stage})
    own = _starts(instance, ALIVE, {STAGE_TAG: stage, TENANT_TAG: tenant})
    return max([0, *in_progress, *(start + 1 for start in own)])


def _starts(
    instance: dg.DagsterInstance, statuses: list[dg.DagsterRunStatus], tags: Mapping[str, str]
) -> list[int]:
    newest = instance.get_runs(dg.RunsFilter(statuses=statuses, tags=tags), limit=_NUM_NEWEST)
    starts = (run.tags.get(START_TAG, "") for run in newest)
    return [int(start) for start in starts if start.isdecimal()]
