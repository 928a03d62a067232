"""Prepare a Dagster instance before its daemon starts: set pool limits, fail orphaned runs.

Dagster keeps pool limits in its database and not in dagster.yaml. `influencerai dagster prepare`
sets them, and so does every start of the daemon (dagster_process.py).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from dagster._core.errors import DagsterHomeNotSetError

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.orchestration.run_states import MAY_HAVE_PROCESS


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance of DAGSTER_HOME.

    Raises:
        PermanentError: DAGSTER_HOME is not set.
    """
    try:
        instance = dg.DagsterInstance.get()
    except DagsterHomeNotSetError:
        raise PermanentError(
            "The Dagster instance cannot be opened: DAGSTER_HOME is not set. Name the folder that "
            "has dagster.yaml; for the stack of this machine run `set -a; . data/stack.env; set +a`"
        ) from None
    with instance:
        yield instance


def apply_pool_limits(instance: dg.DagsterInstance, limits: Mapping[str, int]) -> None:
    """Set how many steps of each pool may run at once.

    Raises:
        PermanentError: the instance's storage has no pools (SQLite before its migration).
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        raise PermanentError(
            "Dagster's storage has no pools: run `dagster instance migrate`, or use PostgreSQL"
        )
    for pool, limit in limits.items():
        storage.set_concurrency_slots(pool, limit)


def fail_orphaned_runs(instance: dg.DagsterInstance) -> int:
    """Fail every run that should have a process, and free its pool slots; return how many.

    Only right while no run can be alive: when all processes of a machine just start. The fork
    server reports those too whose processes it had recorded. Queued runs stay queued.
    """
    orphans = instance.get_runs(dg.RunsFilter(statuses=MAY_HAVE_PROCESS))
    for run in orphans:
        instance.report_run_failed(run, message="The stack was stopped while this run was alive.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return len(orphans)
