"""Launch a submitted run at once where Dagster's queue would launch it next.

The daemon looks at its queue every second. A run that has to wait for no other one need not wait
for that look. Only with our run launcher: it never gives a run two processes, so the queue may
repeat a launch that seemed to fail.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.launcher import LaunchRunContext

from influencerai_dagster.core.dagster_names import STAGE_TAG
from influencerai_dagster.core.job_states import OUTPUT_FOLDERS
from influencerai_dagster.orchestration.pools import begins_with
from influencerai_dagster.orchestration.run_launcher.launcher import PreloadedRunLauncher
from influencerai_dagster.orchestration.run_states import MAY_HAVE_PROCESS

_deciding = threading.Lock()
"""Runs that are submitted together in one process see each other."""


def launch_at_once(
    instance: dg.DagsterInstance, context: dg.SubmitRunContext, tags: Mapping[str, str]
) -> dg.DagsterRun | None:
    """Launch a run, unless it has to wait in the queue.

    A launch that fails puts the run into the queue: the daemon tries again, and fails the run if
    it has to.

    Args:
        instance: has the queue and its limits.
        context: the run that is submitted.
        tags: of the run, with those of the queue.

    Returns:
        The run as it is now; None if nothing was done.
    """
    run = context.dagster_run
    with _deciding:
        is_new = run.status is dg.DagsterRunStatus.NOT_STARTED
        if not is_new or _has_to_wait(instance, run, tags):
            return None
        starting = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, run.job_name)
        instance.report_dagster_event(starting, run.run_id)
    launched = _current(instance, run)
    try:
        instance.run_launcher.launch_run(LaunchRunContext(launched, context.workspace))
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon handles it in its queue
        instance.report_engine_event(f"The run goes into the queue: {error}", launched)
        if _current(instance, run).status is dg.DagsterRunStatus.STARTING:
            instance.report_dagster_event(DagsterEvent.job_enqueue(launched), run.run_id)
    return _current(instance, run)


def _has_to_wait(instance: dg.DagsterInstance, run: dg.DagsterRun, tags: Mapping[str, str]) -> bool:
    """Return whether a limit concerns the run, or another one is before it.

    Half of the places for runs are left to the queue: other processes launch too, at the same time.
    """
    queue = instance.get_concurrency_config().run_queue_config
    if queue is None or not isinstance(instance.run_launcher, PreloadedRunLauncher):
        return True
    if any(_concerns(limit, tags) for limit in queue.tag_concurrency_limits or ()):
        return True
    num_places = queue.max_concurrent_runs // 2
    in_progress = instance.get_runs(dg.RunsFilter(statuses=MAY_HAVE_PROCESS), limit=num_places + 1)
    return (
        len(in_progress) >= num_places
        or not _has_free_slots(instance, run, in_progress)
        or instance.get_runs_count(_queued_before(tags)) > 0
    )


def _concerns(limit: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
    value = limit.get("value")
    return limit["key"] in tags and (not isinstance(value, str) or tags[limit["key"]] == value)


def _has_free_slots(
    instance: dg.DagsterInstance, run: dg.DagsterRun, in_progress: Sequence[dg.DagsterRun]
) -> bool:
    """Return whether each pool of the first steps has more slots than runs that begin with it."""
    needs = run.run_op_concurrency
    if needs is None or not needs.root_key_counts:
        return True
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    return all(
        sum(begins_with(other, pool) for other in in_progress) < limits.get(pool, 1)
        for pool in needs.root_key_counts
    )


def _queued_before(tags: Mapping[str, str]) -> dg.RunsFilter:
    """Return the runs that the queue launches first: of renders the queued renders, else all."""
    queued = [dg.DagsterRunStatus.QUEUED]
    if tags.get(STAGE_TAG) in OUTPUT_FOLDERS:
        return dg.RunsFilter(statuses=queued, tags={STAGE_TAG: [*OUTPUT_FOLDERS]})
    return dg.RunsFilter(statuses=queued)


def _current(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    return instance.get_run_by_id(run.run_id) or run
