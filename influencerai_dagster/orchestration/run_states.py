"""List run states as Dagster's filters take them; the names are in core/dagster_names.py."""

import dagster as dg

from influencerai_dagster.core import dagster_names as names


def _states(*wanted: str) -> list[dg.DagsterRunStatus]:
    return [dg.DagsterRunStatus[name] for name in wanted]


ALIVE = _states(*names.ALIVE)
ENDED = _states(*names.ENDED)
IN_PROGRESS = _states(names.STARTING, names.STARTED)
HAS_PROCESS = _states(names.STARTED, names.CANCELING)
MAY_HAVE_PROCESS = _states(names.STARTING, names.STARTED, names.CANCELING)
"""A run that is starting may have no process yet."""
