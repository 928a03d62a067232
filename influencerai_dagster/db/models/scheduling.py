"""Define the tables of scheduling: fair shares, workers, trainings, sweeps.

Jobs themselves are in jobs.py; the rules that these rows feed are in
generation/queue/fairness.py.
"""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.models.content import NOW, CatalogModel
from influencerai_dagster.db.models.jobs import one_of

_ZERO = text("0")


class GpuShareRow(CatalogModel):
    """GPU time of a tenant, in virtual seconds: render seconds ÷ its weight.

    Attributes:
        start_tag: virtual time at which its newest claimed job started.
        finish_tag: virtual time at which all its claims are paid for.
        used_seconds: total render time, for reports.
        mean_seconds: moving mean of the render time by kind of job; a kind is missing before its
            first render.
    """

    __tablename__ = "gpu_shares"
    __table_args__ = (CheckConstraint("used_seconds >= 0", name="used"),)

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    start_tag: Mapped[float] = mapped_column(server_default=_ZERO)
    finish_tag: Mapped[float] = mapped_column(server_default=_ZERO)
    used_seconds: Mapped[float] = mapped_column(server_default=_ZERO)
    mean_seconds: Mapped[dict[str, float]] = mapped_column(JSONB, server_default=text("'{}'"))


class WorkerRow(CatalogModel):
    """A worker of one tenant-day now; it shares the servers with the others.

    Attributes:
        owner: its Dagster run id.
        num_wanted: jobs that it could have claimed and was not allotted, up to a few.
        polled_at: its newest claim; a few seconds later no slot is reserved for it.
    """

    __tablename__ = "workers"
    __table_args__ = (one_of("kind", JobKind),)

    owner: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str]
    day: Mapped[date]
    num_wanted: Mapped[int] = mapped_column(server_default=_ZERO)
    polled_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)


class RunningTrainingRow(CatalogModel):
    """A Dagster run that trains right now; not while it waits, or renders the samples of its LoRA.

    Attributes:
        dataset: that it trains on, "tenant/dataset".
        owns_gpu: it has the shared GPU for itself (GPU_SHARED): no render may run.
    """

    __tablename__ = "running_trainings"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    dataset: Mapped[str]
    owns_gpu: Mapped[bool] = mapped_column(server_default=text("false"))
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)


class SweepRow(CatalogModel):
    """The newest search for stalled workers; see sweeps.py.

    Attributes:
        swept_at: when it took place.
    """

    __tablename__ = "sweeps"

    name: Mapped[str] = mapped_column(primary_key=True)
    swept_at: Mapped[datetime] = mapped_column(server_default=NOW)
