"""Claim jobs by fair shares: which jobs a worker may claim now, and on which server each renders.

generation/queue/fairness.py decides; here its facts are read and its decision is written. An
advisory lock, which ends with the transaction, lets one claim decide at a time, so two workers
never take the same slot.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Float, Row, bindparam, func, literal, select, text
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.models.content import TenantRow
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.db.models.scheduling import GpuShareRow, WorkerRow
from influencerai_dagster.generation.jobs import Need
from influencerai_dagster.generation.queue import fairness
from influencerai_dagster.generation.queue.claimable import is_claimable, serves_other_needs
from influencerai_dagster.generation.queue.claims import claim_rows
from influencerai_dagster.generation.queue.fairness import Contender, ServerLoad, Share, Slot
from influencerai_dagster.generation.queue.records import ClaimedJob
from influencerai_dagster.generation.queue.shares import charge, mean_seconds
from influencerai_dagster.generation.queue.workers import WorkerRegistration, is_live, poll

# A worker that is frozen in the middle of a claim must not block all others for long.
_LOCK = text(
    "SELECT set_config('idle_in_transaction_session_timeout', '5s', true),"
    " set_config('lock_timeout', '5s', true),"
    " pg_advisory_xact_lock(448724994)"  # any number that no other lock of this database uses
)
_MAX_COUNTED = 16

# Statements of a claim are built once (@cache): to build them took longer than to execute them.


def has_claimable(session: Session, worker: WorkerRegistration) -> bool:
    """Return whether a worker has a job to claim; takes no lock."""
    return session.scalar(_has_claimable(), _of(worker)) or False


def has_active(session: Session, kind: JobKind, job_ids: Collection[UUID]) -> bool:
    """Return whether any of these jobs runs, can be claimed, or is in its backoff."""
    is_active = (
        (JobRow.status == JobStatus.RUNNING)
        | is_claimable(kind)
        | ((JobRow.status == JobStatus.PENDING) & (JobRow.attempt > 0))
    )
    statement = select(JobRow.id).where(JobRow.id.in_(job_ids), is_active)
    return session.scalar(select(statement.exists())) or False


def claim_fairly(
    session: Session,
    worker: WorkerRegistration,
    servers: Mapping[str, int],
    *,
    lease_seconds: float,
    limit: int,
    unfit: Mapping[str, frozenset[Need]] = MappingProxyType({}),
) -> list[ClaimedJob]:
    """Claim the jobs that a worker may start now, each with its server, and charge its tenant.

    In one transaction: lock; read demand, loads and shares; let fairness.py allot slots; claim a
    job for each slot; charge the tenant; register what the worker could not get.

    Args:
        session: of the caller's transaction.
        worker: claims jobs of its tenant-day.
        servers: addresses of the usable servers, without credentials → prompts in their own queues.
        lease_seconds: how long the leases hold without a heartbeat.
        limit: at most so many jobs.
        unfit: server → the needs that it cannot serve. A server that can serve none of the worker's
            jobs is left out, and does not block the worker's other servers.

    Returns:
        The jobs, in the order in which they should start; empty if there are none, or if the slots
        are for other tenants now.
    """
    session.execute(_LOCK)
    num_wanted = session.scalar(_count_claimable(), _of(worker)) or 0
    loads = _server_loads(session, servers)
    shares, now = _shares(session, worker)
    me = Contender(worker.owner, shares[worker.tenant], min(num_wanted, limit))
    fit = [load for load in loads if _has_need(session, worker, unfit.get(load.url))]
    slots = fairness.allot(me, _others(session, worker, shares), fit, now)[:limit]
    claim = partial(claim_rows, session, worker, lease_seconds=lease_seconds)
    jobs = [_start(row, slot, me.share) for row, slot in _claim_slots(claim, slots, loads, unfit)]
    if jobs:
        session.flush()
        charge(session, me.share, now, len(jobs))
    # Jobs that only some servers can serve must not reserve the slots of the others.
    poll(session, worker, num_wanted - len(jobs) if len(fit) == len(loads) else 0)
    return jobs


def _has_need(session: Session, worker: WorkerRegistration, unfit: frozenset[Need] | None) -> bool:
    """Return whether a worker has a job for a server that cannot serve some needs."""
    if not unfit:
        return True
    statement = _claimable().where(serves_other_needs(unfit))
    return session.scalar(select(statement.exists()), _of(worker)) or False


def _claim_slots(
    claim: Callable[..., list[JobRow]],
    slots: Sequence[Slot],
    loads: Sequence[ServerLoad],
    unfit: Mapping[str, frozenset[Need]],
) -> list[tuple[JobRow, Slot]]:
    """Claim a job for each slot that its server can serve."""
    if not any(unfit.get(slot.url) for slot in slots):
        rows = claim(limit=len(slots)) if slots else []
        names = [_affinity(row.tenant_id, row.lora_datasets, row.payload) for row in rows]
        return list(zip(rows, fairness.assign(slots, names, loads), strict=True))
    by_url: dict[str, list[Slot]] = {}
    for slot in slots:
        by_url.setdefault(slot.url, []).append(slot)
    return [
        pair
        for url, of_server in by_url.items()
        for pair in zip(
            claim(limit=len(of_server), unfit=unfit.get(url, frozenset())),
            of_server,
            strict=False,  # the server may have fewer jobs than slots
        )
    ]


def _start(row: JobRow, slot: Slot, share: Share) -> ClaimedJob:
    row.server = slot.url
    row.progress = 0.0
    row.charged_seconds = share.render_seconds
    return ClaimedJob.of(row, is_front=slot.is_front)


def _of(worker: WorkerRegistration) -> dict[str, Any]:
    return {"of_kind": worker.kind, "of_tenant": worker.tenant, "of_day": worker.day}


def _claimable() -> Any:  # noqa: ANN401 - Select of SQLAlchemy's own generics
    return select(JobRow.id).where(
        JobRow.tenant_id == bindparam("of_tenant"),
        JobRow.day == bindparam("of_day"),
        is_claimable(bindparam("of_kind")),
    )


@cache
def _has_claimable() -> Any:  # noqa: ANN401 - as above
    return select(_claimable().exists())


@cache
def _count_claimable() -> Any:  # noqa: ANN401 - as above
    return select(func.count()).select_from(_claimable().limit(_MAX_COUNTED).subquery())


@cache
def _running() -> Any:  # noqa: ANN401 - as above
    return (
        select(
            JobRow.server,
            JobRow.tenant_id,
            JobRow.lora_datasets,
            func.extract("epoch", JobRow.started_at).cast(Float).label("claimed_at"),
            JobRow.payload["base_model"].astext.label("base_model"),
        )
        .where(
            JobRow.status == literal(JobStatus.RUNNING.value, literal_execute=True),
            JobRow.progress < 1,  # at 1 its server is done: the output is encoded or stored
        )
        .order_by(JobRow.started_at, JobRow.number)
    )


def _server_loads(session: Session, servers: Mapping[str, int]) -> list[ServerLoad]:
    loads = {url: ServerLoad(url, queue_length) for url, queue_length in servers.items()}
    for row in session.execute(_running()):
        load = loads.get(row.server)
        if load is not None:
            load.tenants.append(row.tenant_id)
            load.newest_at = row.claimed_at
            load.newest = fairness.affinity(row.tenant_id, row.lora_datasets, row.base_model)
    return list(loads.values())


def _affinity(tenant: str, lora_datasets: Iterable[str], payload: Mapping[str, Any]) -> str:
    return fairness.affinity(tenant, lora_datasets, payload.get("base_model"))


@cache
def _shares_statement(kind: JobKind) -> Any:  # noqa: ANN401 - as above
    mean = mean_seconds(kind)
    live = select(WorkerRow.tenant_id).where(is_live())
    return (
        select(
            TenantRow.id,
            TenantRow.gpu_weight,
            func.coalesce(GpuShareRow.finish_tag, 0.0).label("finish_tag"),
            func.coalesce(
                mean, select(func.avg(mean)).scalar_subquery(), fairness.DEFAULT_RENDER_SECONDS
            ).label("render_seconds"),
            select(func.max(GpuShareRow.start_tag)).scalar_subquery().label("clock"),
        )
        .outerjoin(GpuShareRow, GpuShareRow.tenant_id == TenantRow.id)
        .where((TenantRow.id == bindparam("of_tenant")) | TenantRow.id.in_(live))
    )


def _shares(session: Session, worker: WorkerRegistration) -> tuple[dict[str, Share], float]:
    """Return the shares of the worker's tenant and of tenants with live workers, and the clock."""
    rows = session.execute(_shares_statement(worker.kind), {"of_tenant": worker.tenant}).all()
    return {row.id: _share(row) for row in rows}, rows[0].clock or 0.0


def _share(row: Row[Any]) -> Share:
    return Share(
        tenant=row.id,
        finish_tag=row.finish_tag,
        weight=row.gpu_weight,
        render_seconds=row.render_seconds,
    )


@cache
def _others_statement() -> Any:  # noqa: ANN401 - as above
    return select(WorkerRow.owner, WorkerRow.tenant_id, WorkerRow.num_wanted).where(
        WorkerRow.owner != bindparam("owner"), WorkerRow.num_wanted > 0, is_live()
    )


def _others(
    session: Session, worker: WorkerRegistration, shares: Mapping[str, Share]
) -> list[Contender]:
    rows = session.execute(_others_statement(), {"owner": worker.owner})
    return [
        Contender(row.owner, shares.get(row.tenant_id, Share(row.tenant_id)), row.num_wanted)
        for row in rows
    ]
