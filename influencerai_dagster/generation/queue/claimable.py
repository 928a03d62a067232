"""Build the SQL conditions of jobs that can be claimed now, and the statement that claims them."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Interval,
    bindparam,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.orm import aliased

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.models.content import LoraRow
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.generation.jobs import MODEL_FIELDS, Need


def is_claimable(kind: JobKind | BindParameter[Any]) -> ColumnElement[bool]:
    """Return the condition that a job can be claimed right now."""
    source = aliased(JobRow)
    # Not EXISTS: beside an OR, PostgreSQL may answer that by reading all completed jobs first.
    source_status = select(source.status).where(source.id == JobRow.depends_on).scalar_subquery()
    trained = select(LoraRow.dataset).where(
        LoraRow.tenant_id == JobRow.tenant_id, LoraRow.dataset == JobRow.lora_datasets.any_()
    )
    return (
        (JobRow.kind == kind)
        # Written out, so that the planner sees that the partial index holds all of them.
        & (JobRow.status == literal(JobStatus.PENDING.value, literal_execute=True))
        & (JobRow.not_before <= func.now())
        & or_(JobRow.depends_on.is_(None), source_status == JobStatus.COMPLETED)
        & or_(
            func.cardinality(JobRow.lora_datasets) == 0,
            JobRow.lora_datasets.contained_by(func.array(trained.scalar_subquery())),
        )
    )


def serves_other_needs(needs: Collection[Need]) -> ColumnElement[bool]:
    """Return the condition that a job's need is none of these."""
    model_file = func.coalesce(*(JobRow.payload[name].astext for name in MODEL_FIELDS), "")
    workflow = func.coalesce(JobRow.payload["workflow"].astext, "")
    return not_(
        or_(
            *(
                (model_file == need.model_file)
                & (workflow == need.workflow)
                & (JobRow.lora_datasets == list(need.lora_datasets))
                for need in needs
            ),
            false(),
        )
    )


@lru_cache
def claim_statement(unfit: frozenset[Need]) -> Any:  # noqa: ANN401 - ReturningUpdate is not public
    """Return the statement of `claim_rows`; built once, which costs more than to execute it."""
    wanted = [
        is_claimable(bindparam("of_kind")),
        JobRow.tenant_id == bindparam("of_tenant"),
        JobRow.day == bindparam("of_day"),
    ]
    if unfit:
        wanted.append(serves_other_needs(unfit))
    taken = (
        select(JobRow.id)
        .where(*wanted)
        .order_by(JobRow.priority.desc(), JobRow.number)
        .limit(bindparam("max_jobs", type_=Integer))
        .with_for_update(skip_locked=True, key_share=True, of=JobRow)
        .cte("taken")  # PostgreSQL runs a locking CTE once, so the limit holds
    )
    return (
        update(JobRow)
        .where(JobRow.id == taken.c.id)
        .values(
            status=JobStatus.RUNNING,
            attempt=JobRow.attempt + 1,
            lease_owner=bindparam("owner"),
            lease_token=JobRow.lease_token + 1,
            lease_expires_at=func.now() + bindparam("lease", type_=Interval),
            dagster_run_id=bindparam("owner"),
            started_at=func.coalesce(JobRow.started_at, func.now()),
            error=None,  # an error of the attempt before would look like one of this attempt
            error_class=None,
        )
        .returning(JobRow)
    )
