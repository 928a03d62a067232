"""Record heartbeats of Dagster runs: which runs have a living process, and what each is doing.

A row exists from the first heartbeat until the run has ended in Dagster, or has stalled. So a run
without a row has not started its heartbeat yet, and a process whose row was deleted must stop.
Ages are measured by PostgreSQL's clock; an outage makes no heartbeat older (sweeps.py).
"""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.run_health import DEFAULT_LIMITS, Heartbeat
from influencerai_dagster.db.models.scheduling import RunHeartbeatRow, WorkerRow
from influencerai_dagster.db.sweeps import HEARTBEATS, Sweep, begin_sweep


class Activity(NamedTuple):
    """What a run does right now.

    Attributes:
        text: for people: "generate_images_job demo/2026-11-23".
        training: the dataset that it trains on, "tenant/dataset". None at other work: also for a
            run of `train_lora_job` that waits, or renders the samples of its LoRA.
        owns_gpu: it has the shared GPU for itself (GPU_SHARED): no render may run.
    """

    text: str
    training: str | None = None
    owns_gpu: bool = False

    @classmethod
    def of_training(cls, dataset: str, *, owns_gpu: bool) -> "Activity":
        """Return that of a run that trains on a dataset, "tenant/dataset"."""
        return cls(f"train_lora {dataset}", dataset, owns_gpu)

    def columns(self) -> dict[str, Any]:
        """Return the columns that hold it."""
        return {"activity": self.text, "training": self.training, "owns_gpu": self.owns_gpu}


def first_beat(session: Session, run_id: str, activity: Activity, *, host: str) -> None:
    """Write the first heartbeat of a run; the same again changes nothing."""
    values = {**activity.columns(), "host": host, "beat_at": func.now()}
    statement = insert(RunHeartbeatRow).values(run_id=run_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))


def beat(session: Session, run_id: str, activity: Activity) -> bool:
    """Renew the heartbeat of a run, and write what it does.

    Returns:
        Whether the run may go on; if not, it was ended as stalled, or has ended in Dagster.
    """
    statement = (
        update(RunHeartbeatRow)
        .where(RunHeartbeatRow.run_id == run_id)
        .values(**activity.columns(), beat_at=func.now())
        .returning(RunHeartbeatRow.run_id)
    )
    return session.scalar(statement) is not None


def list_heartbeats(session: Session) -> list[Heartbeat]:
    """Return the heartbeats of all runs, the oldest run first."""
    row = RunHeartbeatRow
    rows = session.execute(
        select(row.run_id, row.activity, row.host, _age_seconds()).order_by(
            row.started_at, row.run_id
        )
    )
    return [
        Heartbeat(run_id, activity, host, float(age_seconds))
        for run_id, activity, host, age_seconds in rows
    ]


def sweep(session: Session) -> Sweep:
    """Begin a search for stalled runs; the time without such a search makes no heartbeat older."""
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


def end_stalled(
    session: Session, run_id: str, *, stale_seconds: float = DEFAULT_LIMITS.stale_seconds
) -> bool:
    """Delete the heartbeat and the worker of a stalled run.

    Returns:
        Whether it has no heartbeat now; False if it was renewed meanwhile.
    """
    session.execute(
        delete(RunHeartbeatRow).where(
            RunHeartbeatRow.run_id == run_id, _age_seconds() >= stale_seconds
        ),
        execution_options={"synchronize_session": False},
    )
    is_there = select(RunHeartbeatRow.run_id).where(RunHeartbeatRow.run_id == run_id)
    if session.scalar(is_there) is not None:
        return False
    session.execute(delete(WorkerRow).where(WorkerRow.owner == run_id))
    return True


def end(session: Session, run_id: str) -> None:
    """Delete the heartbeat and the worker of a run that ended in Dagster; its process stops."""
    session.execute(delete(RunHeartbeatRow).where(RunHeartbeatRow.run_id == run_id))
    session.execute(delete(WorkerRow).where(WorkerRow.owner == run_id))


def gpu_owner(session: Session) -> str | None:
    """Return what has the shared GPU ("train_lora demo/bella"), or None if renders may have it."""
    row = RunHeartbeatRow
    return session.scalar(
        select(row.activity).where(row.owns_gpu).order_by(row.beat_at.desc()).limit(1)
    )


def _age_seconds() -> ColumnElement[Any]:
    return func.extract("epoch", func.now() - RunHeartbeatRow.beat_at)
