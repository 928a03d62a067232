"""The limits of the pools, which Dagster keeps in its database and not in dagster.yaml.

Ops name their pool themselves. Run at every start, before the daemon:
`python -m influencerai_dagster.orchestration.pools image_generation=3 video_generation=2`.
"""

import argparse
from collections.abc import Mapping

import dagster as dg

from influencerai_dagster.errors import PermanentError


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


def _limit(text: str) -> tuple[str, int]:
    pool, _, limit = text.partition("=")
    return pool, int(limit)


def main() -> None:
    """Set the limits given as POOL=LIMIT on the instance of DAGSTER_HOME."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("limits", nargs="+", type=_limit, metavar="POOL=LIMIT")
    with dg.DagsterInstance.get() as instance:
        apply_pool_limits(instance, dict(parser.parse_args().limits))


if __name__ == "__main__":
    main()
