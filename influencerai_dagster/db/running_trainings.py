"""Record which runs train right now, and whether one has the shared GPU for itself.

A row is written when a training begins and deleted when it ends. When the process of its run was
killed, the fork server deletes it (orchestration/run_launcher/run_ends.py).
"""

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from influencerai_dagster.db.models.scheduling import RunningTrainingRow


def begin_training(session: Session, run_id: str, dataset: str, *, owns_gpu: bool) -> None:
    """Record that a run trains on a dataset, "tenant/dataset".

    An older record of the same dataset is of a process that vanished with its machine.
    """
    row = RunningTrainingRow
    session.execute(delete(row).where(or_(row.run_id == run_id, row.dataset == dataset)))
    session.add(row(run_id=run_id, dataset=dataset, owns_gpu=owns_gpu))


def end_training(session: Session, run_id: str) -> None:
    """Delete the record of a run, if there is one."""
    session.execute(delete(RunningTrainingRow).where(RunningTrainingRow.run_id == run_id))


def gpu_owner(session: Session) -> str | None:
    """Return what has the shared GPU ("train_lora demo/bella"), or None if renders may have it."""
    row = RunningTrainingRow
    dataset = session.scalar(
        select(row.dataset).where(row.owns_gpu).order_by(row.started_at.desc()).limit(1)
    )
    return None if dataset is None else f"train_lora {dataset}"
