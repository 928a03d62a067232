"""`pending_jobs_sensor`: jobs that can be claimed → one run per tenant-day and kind."""

import dagster as dg

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.domain.jobs import JobKind
from influencerai_dagster.domain.keys import DayKey
from influencerai_dagster.orchestration.jobs import generate_images_job, generate_videos_job
from influencerai_dagster.orchestration.partitions import content_day_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource

_JOBS = {JobKind.IMAGE: generate_images_job.name, JobKind.VIDEO: generate_videos_job.name}
_ALIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    jobs=[generate_images_job, generate_videos_job],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run for every tenant-day with jobs to render, unless one is alive.",
)
def pending_jobs_sensor(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult | dg.SkipReason:
    """Look for jobs that can be claimed, after taking back those of workers that died."""
    with transaction(catalog.engine) as session:
        ledger.expire_leases(session)
        ledger.fail_dependents(session)
        wanted = [
            (kind, day) for kind in _JOBS for day in ledger.days_with_claimable_jobs(session, kind)
        ]
    requests = [
        dg.RunRequest(job_name=_JOBS[kind], partition_key=str(day))
        for kind, day in wanted
        if not _has_live_run(context.instance, _JOBS[kind], day)
    ]
    if not requests:
        return dg.SkipReason(
            f"{len(wanted)} tenant-days have work, each with a run alive"
            if wanted
            else "no job can be rendered now"
        )
    days = sorted({request.partition_key for request in requests if request.partition_key})
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[content_day_partitions.build_add_request(days)],
    )


def _has_live_run(instance: dg.DagsterInstance, job_name: str, day: DayKey) -> bool:
    return bool(
        instance.get_runs(
            dg.RunsFilter(job_name=job_name, statuses=_ALIVE, tags={"dagster/partition": str(day)}),
            limit=1,
        )
    )
