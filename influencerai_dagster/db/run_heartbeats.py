"""Heartbeats of Dagster runs: which run has a process that lives, and what that process does.

A row lives from the first beat until Dagster says that the run is over, or until somebody ends the
run because it is silent: so a run without a row has not beaten yet, and a process whose row is gone
must stop. Ages are PostgreSQL's, and no outage makes anybody old (sweeps.py).
"""

from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.run_health import STALE_SECONDS, Heartbeat
from influencerai_dagster.db.models.scheduling import RunHeartbeatRow, WorkerRow
from influencerai_dagster.db.sweeps import HEARTBEATS, Sweep, begin_sweep

TRAINING_ON_SHARED_GPU = "train_lora "
"""How the activity of a training begins that has ComfyUI's GPU for itself (GPU_SHARED)."""
TRAINING = "training "
"""How the activity of any other training begins. A run of `train_lora_job` that waits, or renders
the samples of its LoRA, does not train."""


def first_beat(session: Session, run_id: str, *, activity: str, host: str) -> None:
    """Say that the process of a run lives; the same again changes nothing."""
    values = {"activity": activity, "host": host, "beat_at": func.now()}
    statement = insert(RunHeartbeatRow).values(run_id=run_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))


def beat(session: Session, run_id: str, *, activity: str) -> bool:
    """Say that the process of a run still lives, and what it does.

    Returns:
        Whether the run may go on; if not, it was ended as dead, or is over in Dagster.
    """
    statement = (
        update(RunHeartbeatRow)
        .where(RunHeartbeatRow.run_id == run_id)
        .values(activity=activity, beat_at=func.now())
        .returning(RunHeartbeatRow.run_id)
    )
    return session.scalar(statement) is not None


def list_heartbeats(session: Session) -> list[Heartbeat]:
    """Return the heartbeats of all runs, the oldest run first."""
    row = RunHeartbeatRow
    rows = session.execute(
        select(row.run_id, row.activity, row.host, _silent_seconds()).order_by(
            row.started_at, row.run_id
        )
    )
    return [
        Heartbeat(run_id, activity, host, float(silent_seconds))
        for run_id, activity, host, silent_seconds in rows
    ]


def sweep(session: Session) -> Sweep:
    """Begin to look for silent runs; makes nobody old for the time that no sweep took place."""
    begun = begin_sweep(session, HEARTBEATS)
    if begun.missed:
        row = RunHeartbeatRow
        # One that is locked is being written: its run beats.
        ids = select(row.run_id).with_for_update(skip_locked=True)
        session.execute(
            update(row)
            .where(row.run_id.in_(ids))
            .values(beat_at=func.least(row.beat_at + begun.missed, func.now())),
            execution_options={"synchronize_session": False},
        )
    return begun


def end_silent(session: Session, run_id: str) -> bool:
    """Remove what a run that is silent for too long left behind.

    Returns:
        Whether it has no heartbeat now; False if it was heard of again.
    """
    session.execute(
        delete(RunHeartbeatRow).where(
            RunHeartbeatRow.run_id == run_id, _silent_seconds() >= STALE_SECONDS
        ),
        execution_options={"synchronize_session": False},
    )
    is_there = select(RunHeartbeatRow.run_id).where(RunHeartbeatRow.run_id == run_id)
    if session.scalar(is_there) is not None:
        return False
    session.execute(delete(WorkerRow).where(WorkerRow.owner == run_id))
    return True


def end(session: Session, run_id: str) -> None:
    """Remove what a run that is over in Dagster left behind; its process stops if it lives."""
    session.execute(delete(RunHeartbeatRow).where(RunHeartbeatRow.run_id == run_id))
    session.execute(delete(WorkerRow).where(WorkerRow.owner == run_id))


def gpu_holder(session: Session) -> str | None:
    """Return which training has the shared GPU ("train_lora demo/bella"), or None."""
    row = RunHeartbeatRow
    return session.scalar(
        select(row.activity)
        .where(row.activity.startswith(TRAINING_ON_SHARED_GPU, autoescape=True))
        .order_by(row.beat_at.desc())
        .limit(1)
    )


def _silent_seconds() -> ColumnElement[Any]:
    return func.extract("epoch", func.now() - RunHeartbeatRow.beat_at)
