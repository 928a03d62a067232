"""Ensure that a run takes the jobs of `generate`, `jobs submit` and `jobs retry`."""

from contextlib import closing

from influencerai_dagster.cli.common import engine, settings
from influencerai_dagster.cli.output import next_step
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.dagster_client.ensure_run import ensure_run
from influencerai_dagster.errors import InfluencerAIError, TransientError


def ensure_run_for(kind: JobKind, day: DayKey, *, num_jobs: int) -> str:
    """Ensure that a run takes the submitted jobs; print where to see it and return its run id.

    Raises:
        TransientError: Dagster did not answer; the text says that the jobs are not lost.
    """
    try:
        with closing(dagster()) as client:
            ensured = ensure_run(client, engine(), kind, day)
    except InfluencerAIError as error:
        raise TransientError(
            f"The jobs ({num_jobs}) are in the job queue and are not lost, but no run could be "
            f"launched: {error}\nWhen Dagster is back, it starts one by itself; "
            f"`influencerai jobs list --tenant {day.tenant}` shows them"
        ) from error
    state = "started" if ensured.is_new else "alive already"
    next_step(
        f"run {settings().dagster.url}/runs/{ensured.run_id} ({state}) renders them; `influencerai "
        f"jobs watch --tenant {day.tenant}` shows it"
    )
    return ensured.run_id
