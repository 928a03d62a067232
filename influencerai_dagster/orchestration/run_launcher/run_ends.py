"""Report the end of a run whose process could not do it: it was killed, or crashed."""

import signal
from collections.abc import Mapping
from contextlib import suppress

import dagster as dg

from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.running_trainings import end_training
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.startup import dagster_instance
from influencerai_dagster.settings import load_settings


def report_ends(ends: Mapping[str, int | None]) -> None:
    """Fail runs that are not over in Dagster, free their pool slots and requeue their jobs.

    What fails here, as while PostgreSQL is away, Dagster's run monitoring and the leases of the
    jobs do later.

    Args:
        ends: id of a run whose process has ended → exit code; −N if signal N ended it, None if
            nobody saw its end.
    """
    engine = create_catalog_engine(load_settings().database.url)
    with dagster_instance() as instance:
        for run_id, exit_code in ends.items():
            _report_in_dagster(instance, run_id, exit_code)
            with transaction(engine) as session:
                end_training(session, run_id)
                job_queue.unregister_worker(session, run_id)
                job_queue.expire_leases(session, owner=run_id)


def _report_in_dagster(instance: dg.DagsterInstance, run_id: str, exit_code: int | None) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        message = explain_end(run_id, exit_code)
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=message)
        else:
            instance.report_run_failed(run, message=message)
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def explain_end(run_id: str, exit_code: int | None) -> str:
    """Return why a run failed, for people."""
    return (
        f"The process of run {run_id} {_how(exit_code)}. Its jobs were requeued and its pool slots "
        "freed; no action is needed unless that happens again."
    )


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "has ended, and no fork server was there to see how"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}; the code server's log may say why"
    name = str(-exit_code)
    with suppress(ValueError):
        name = signal.Signals(-exit_code).name
    memory = (
        ". This is how the operating system ends a process when memory is short"
        if exit_code == -signal.SIGKILL
        else ""
    )
    return f"was ended by signal {name}{memory}"
