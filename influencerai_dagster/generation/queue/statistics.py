"""Count the jobs of each tenant for `influencerai jobs watch`; nothing is written here.

In SQL, because these queries count by tenant over partial indexes: with 100,000 jobs in the table,
all of them take some tens of milliseconds.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind

_TENANTS = text("""
WITH open_groups AS (
    -- Few groups of many jobs: whether a group's LoRAs are trained is asked once.
    SELECT tenant_id, status, lora_datasets, not_before > now() AS in_backoff,
           CASE WHEN depends_on IS NULL THEN false
                ELSE (SELECT source.status <> 'completed' FROM jobs source
                       WHERE source.id = job.depends_on) END AS lacks_image,
           count(*) AS jobs
      FROM jobs job WHERE status = 'pending'
     GROUP BY 1, 2, 3, 4, 5
), pending AS (
    SELECT tenant_id, sum(jobs) AS pending,
           sum(jobs) FILTER (WHERE lacks_lora) AS waiting_for_lora,
           sum(jobs) FILTER (WHERE lacks_image AND NOT lacks_lora) AS waiting_for_image,
           sum(jobs) FILTER (WHERE in_backoff AND NOT lacks_image AND NOT lacks_lora)
               AS in_backoff
      FROM open_groups, LATERAL (
           SELECT lora_datasets <> '{}' AND NOT lora_datasets <@ ARRAY(
                  SELECT dataset FROM loras WHERE loras.tenant_id = open_groups.tenant_id
                     AND dataset = ANY (lora_datasets)) AS lacks_lora) trained
     GROUP BY 1
), running AS (
    SELECT tenant_id, count(*) AS running FROM jobs WHERE status = 'running' GROUP BY 1
), finished AS (
    SELECT tenant_id,
           count(*) FILTER (WHERE status = 'completed' AND finished_at >= current_date) AS done,
           count(*) FILTER (WHERE status = 'failed' AND finished_at >= current_date) AS failed,
           count(*) FILTER (WHERE status = 'completed'
                              AND finished_at >= now() - interval '5 min') / 5.0 AS per_minute
      FROM jobs WHERE finished_at >= least(current_date, now() - interval '5 min')
     GROUP BY 1
), waits AS (
    SELECT tenant_id,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS wait_p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS wait_p95
      FROM (SELECT tenant_id, extract(epoch FROM started_at - created_at) AS seconds FROM jobs
             WHERE finished_at >= now() - interval '1 h' AND started_at >= now() - interval '1 h'
             UNION ALL
            SELECT tenant_id, extract(epoch FROM started_at - created_at) FROM jobs
             WHERE status = 'running' AND started_at >= now() - interval '1 h') claims
     GROUP BY 1
)
SELECT tenants.id AS tenant, gpu_weight, pending, waiting_for_lora, waiting_for_image, in_backoff,
       running, done, failed, per_minute, wait_p50, wait_p95, used_seconds,
       used_seconds / nullif((SELECT sum(used_seconds) FROM gpu_shares), 0) AS share
  FROM tenants
  LEFT JOIN pending ON pending.tenant_id = tenants.id
  LEFT JOIN running ON running.tenant_id = tenants.id
  LEFT JOIN finished ON finished.tenant_id = tenants.id
  LEFT JOIN waits ON waits.tenant_id = tenants.id
  LEFT JOIN gpu_shares ON gpu_shares.tenant_id = tenants.id
 WHERE tenants.id = :tenant
    OR (CAST(:tenant AS text) IS NULL AND coalesce(pending, running, done, failed) IS NOT NULL)
 ORDER BY tenants.id
""")

_RUNNING = text("""
SELECT id, tenant_id AS tenant, kind, server, progress,
       extract(epoch FROM now() - started_at) AS seconds
  FROM jobs WHERE status = 'running' AND (CAST(:tenant AS text) IS NULL OR tenant_id = :tenant)
 ORDER BY started_at LIMIT :limit
""")

_FAILURES = text("""
SELECT id, tenant_id AS tenant, kind, error, finished_at
  FROM jobs WHERE status = 'failed' AND finished_at >= now() - interval '1 day'
   AND (CAST(:tenant AS text) IS NULL OR tenant_id = :tenant)
 ORDER BY finished_at DESC LIMIT :limit
""")

_TRAININGS = text("""
SELECT dataset AS training, extract(epoch FROM now() - started_at) AS seconds
  FROM running_trainings
 ORDER BY started_at
""")


@dataclass(frozen=True)
class TenantStatistics:
    """One tenant's jobs now.

    Attributes:
        pending: all that wait; only some of them can be claimed.
        waiting_for_lora: pending ones whose dataset has no LoRA yet.
        waiting_for_image: those of the others whose source image is not rendered.
        in_backoff: those of the others that wait for their next attempt.
        done: completed since 0:00 UTC.
        failed: the same of failed ones.
        per_minute: completed, mean of the last 5 minutes.
        wait_p50: seconds from submission to the first claim, of jobs that were first claimed in
            the last hour and run or have ended; None without any.
        gpu_seconds: render time since the tenant was added.
        share: of all tenants' render time, 0 to 1.
    """

    tenant: str
    gpu_weight: float
    pending: int
    waiting_for_lora: int
    waiting_for_image: int
    in_backoff: int
    running: int
    done: int
    failed: int
    per_minute: float
    wait_p50: float | None
    wait_p95: float | None
    gpu_seconds: float
    share: float


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker has claimed.

    Attributes:
        server: where it renders, without credentials.
        progress: 0 to 1.
        seconds: since its first claim.
    """

    id: UUID
    tenant: str
    kind: JobKind
    server: str | None
    progress: float
    seconds: float


@dataclass(frozen=True)
class FailedJob:
    """A job that failed within the last day."""

    id: UUID
    tenant: str
    kind: JobKind
    error: str
    finished_at: datetime


@dataclass(frozen=True)
class Training:
    """A training of a Dagster run that is alive; `dataset` is its "tenant/dataset"."""

    dataset: str
    seconds: float


def tenant_statistics(session: Session, tenant: str | None = None) -> list[TenantStatistics]:
    """Return the tenants that have open jobs or had some end today, by name.

    Args:
        tenant: only this one, with or without jobs; None for all.
    """
    return [
        TenantStatistics(
            tenant=row.tenant,
            gpu_weight=row.gpu_weight,
            pending=int(row.pending or 0),
            waiting_for_lora=int(row.waiting_for_lora or 0),
            waiting_for_image=int(row.waiting_for_image or 0),
            in_backoff=int(row.in_backoff or 0),
            running=row.running or 0,
            done=row.done or 0,
            failed=row.failed or 0,
            per_minute=float(row.per_minute or 0),
            wait_p50=row.wait_p50,
            wait_p95=row.wait_p95,
            gpu_seconds=row.used_seconds or 0.0,
            share=row.share or 0.0,
        )
        for row in session.execute(_TENANTS, {"tenant": tenant})
    ]


def running_jobs(session: Session, tenant: str | None = None, *, limit: int) -> list[RunningJob]:
    """Return the jobs that workers have claimed, the oldest first."""
    return [
        RunningJob(
            row.id, row.tenant, JobKind(row.kind), row.server, row.progress, float(row.seconds)
        )
        for row in session.execute(_RUNNING, {"tenant": tenant, "limit": limit})
    ]


def newest_failures(session: Session, tenant: str | None = None, *, limit: int) -> list[FailedJob]:
    """Return the jobs that failed within the last day, the newest first."""
    return [
        FailedJob(row.id, row.tenant, JobKind(row.kind), row.error, row.finished_at)
        for row in session.execute(_FAILURES, {"tenant": tenant, "limit": limit})
    ]


def trainings(session: Session) -> list[Training]:
    """Return the trainings that run now, the oldest first."""
    return [Training(row.training, float(row.seconds)) for row in session.execute(_TRAININGS)]
