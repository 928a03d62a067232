"""What a Dagster instance needs before its daemon starts: pool limits, no orphaned runs.

Dagster keeps pool limits in its database and not in dagster.yaml; ops name their pool themselves.
`python -m influencerai_dagster.orchestration.startup --fail-orphans image_generation=3 …`.
"""

import argparse
from collections.abc import Mapping

import dagster as dg

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.orchestration.run_states import MAY_HAVE_PROCESS


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

    Only right while no run can be alive: when all processes of a machine just start. The sensor
    `stale_runs_sensor` finds them too, but only seconds later, and not those that were starting.
    Queued runs stay queued.
    """
    orphans = instance.get_runs(dg.RunsFilter(statuses=MAY_HAVE_PROCESS))
    for run in orphans:
        instance.report_run_failed(run, message="The stack was stopped while this run was alive.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return len(orphans)


def _limit(text: str) -> tuple[str, int]:
    pool, _, limit = text.partition("=")
    return pool, int(limit)


def main() -> None:
    """Prepare the instance of DAGSTER_HOME."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fail-orphans", action="store_true", help="no run can be alive now")
    parser.add_argument("limits", nargs="+", type=_limit, metavar="POOL=LIMIT")
    arguments = parser.parse_args()
    with dg.DagsterInstance.get() as instance:
        apply_pool_limits(instance, dict(arguments.limits))
        if arguments.fail_orphans:
            fail_orphaned_runs(instance)


if __name__ == "__main__":
    main()
