"""Our code location with an empty job, to measure what the start of any Dagster run costs."""

import dagster as dg

from influencerai_dagster.definitions import build_definitions
from influencerai_dagster.settings import load_settings


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job(executor_def=dg.in_process_executor)
def empty_job() -> None:
    """Start and end."""
    nothing()


defs = dg.Definitions.merge(build_definitions(load_settings()), dg.Definitions(jobs=[empty_job]))
