"""Check the outputs of generation jobs: they are stored, no job failed, videos fit."""

import dagster as dg

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.render.video_checks import check_platforms
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.partitions import content_day_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource

_SHOWN = 50
_MEASURED = 10
"""Newest videos of a day that are decoded: one takes seconds, and a day has thousands."""


def outputs_stored_check(asset: str) -> dg.AssetChecksDefinition:
    """Return the check that every output of a day is on S3 with its recorded size."""

    @dg.asset_check(
        name="every_output_is_stored",
        asset=asset,
        partitions_def=content_day_partitions,
    )
    def check(manifest: DayManifest, object_store: ObjectStoreResource) -> dg.AssetCheckResult:
        """Every output that the job queue calls completed is on S3 with its recorded size."""
        with dagster_failures():
            infos = list(
                object_store.map(lambda item: object_store.head(item.object_key), manifest.outputs)
            )
        wrong = [
            item.object_key
            for item, info in zip(manifest.outputs, infos, strict=True)
            if info is None or info.size_bytes != item.size_bytes
        ]
        return dg.AssetCheckResult(
            passed=not wrong,
            description=f"{len(manifest.outputs) - len(wrong)} of {len(manifest.outputs)} stored",
            metadata={"missing_or_changed": wrong[:50]},
        )

    return check


def jobs_completed_check(asset: str, kind: JobKind) -> dg.AssetChecksDefinition:
    """Return the check that no job of a day failed."""

    @dg.asset_check(
        name="no_job_failed",
        asset=asset,
        partitions_def=content_day_partitions,
    )
    def check(manifest: DayManifest, catalog: CatalogResource) -> dg.AssetCheckResult:
        """No job of this day ended as failed; the reasons are in the metadata."""
        with dagster_failures(), transaction(catalog.engine) as session:
            counts = job_queue.count_by_status(
                session, manifest.tenant, day=manifest.day, kind=kind
            )
            newest = job_queue.list_jobs(
                session,
                manifest.tenant,
                day=manifest.day,
                kind=kind,
                status=JobStatus.FAILED,
                limit=_SHOWN,
            )
        num_failed = counts.get(JobStatus.FAILED, 0)
        return dg.AssetCheckResult(
            passed=not num_failed,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{num_failed} jobs failed" if num_failed else "no job failed",
            metadata={"failed": [f"{job.id}: {job.error}" for job in newest]},
        )

    return check


@dg.asset_check(asset="generated_videos", partitions_def=content_day_partitions)
def every_video_fits_its_platform(
    generated_videos: DayManifest, object_store: ObjectStoreResource
) -> dg.AssetCheckResult:
    """Every video keeps its platform's rules: codec, size, fps, length, loudness, index first.

    The recorded facts of every video are read; the files of the newest 10 are decoded again.
    """
    with dagster_failures():
        report = check_platforms(object_store, generated_videos, max_measured=_MEASURED)
    return dg.AssetCheckResult(
        passed=not report.unfit,
        description=(
            f"{report.num_videos} videos, {report.num_measured} measured, "
            + (f"{len(report.unfit)} rules not kept" if report.unfit else "all fit")
        ),
        metadata={
            "unfit": list(report.unfit[:_SHOWN]),
            "measured": report.num_measured,
            "without_preset": report.num_older,
        },
    )
