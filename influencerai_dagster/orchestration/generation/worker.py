"""Render the jobs of a kind and of a tenant-day: what all generation ops and assets share.

The worker lives in generation/worker/worker.py, what the UI shows of it in metadata.py. The op and
the asset of each kind are in the module of its name.
"""

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import GENERATED_ASSETS
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.renderer import Renderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerOptions
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.generation.metadata import rendering_metadata
from influencerai_dagster.orchestration.metadata import OWNER, stored_metadata
from influencerai_dagster.orchestration.partitions import content_day_partitions, kept_partition
from influencerai_dagster.orchestration.pools import num_runs_waiting_for_pool
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import ComfyUIResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.run_config import RunConfig
from influencerai_dagster.storage.manifests import publish
from influencerai_dagster.storage.object_store import ObjectStore

RendererFactory = Callable[[Engine, ObjectStore, RenderSession], Renderer]
AUTOMATIC = (
    "One partition is one UTC day of one tenant. Runs start by themselves while jobs are pending."
)


class GenerationConfig(RunConfig):
    """Run config of the ops that render jobs."""

    jobs: list[dict[str, Any]] = Field(
        default_factory=list,
        description=(
            "Jobs to put into the job queue first, each a payload as docs/jobs.md describes it, "
            "with `idempotency_key` and `priority` beside its fields. Without any, the run renders "
            "what is pending."
        ),
    )


def render_op(
    kind: JobKind, renderer: RendererFactory, *, pool: str, after: str, description: str
) -> dg.OpDefinition:
    """Return the op that renders the jobs of a kind.

    Args:
        kind: of the jobs.
        renderer: makes their renderer.
        pool: whose slot a run holds.
        after: the asset that the outputs are made from.
        description: its text in the UI.
    """

    @dg.op(
        name=f"render_{kind.plural}",
        description=description,
        pool=pool,
        code_version="1",
        ins={after: dg.In(dg.Nothing)},
        config_schema=GenerationConfig.schema_for_dagster(),
    )
    def render(
        context: dg.OpExecutionContext,
        object_store: ObjectStoreResource,
        catalog: CatalogResource,
        comfyui: ComfyUIResource,
        limits: LimitsResource,
    ) -> dg.Output[DayManifest]:
        return _render_jobs(context, kind, renderer, object_store, catalog.engine, comfyui, limits)

    return render


def _render_jobs(
    context: dg.OpExecutionContext,
    kind: JobKind,
    renderer: RendererFactory,
    store: ObjectStore,
    engine: Engine,
    comfyui: ComfyUIResource,
    limits: LimitsResource,
) -> dg.Output[DayManifest]:
    """Submit the jobs of the run config, then work until no job of the day and kind is pending."""
    with dagster_failures(context.retry_number), kept_partition(context, content_day_partitions):
        day = DayKey.parse(context.partition_key)
        own_jobs = comfyui.job_submitter(engine, store).submit(
            kind,
            day,
            GenerationConfig.of(context).jobs,
            # A retry submits with the id of the run that it repeats: its jobs are the same jobs.
            key_prefix=context.run.root_run_id or context.run_id,
        )
        own_ids = {job.id for job in own_jobs}
        started = last_end = time.monotonic()
        log = optional(partial(_log_job, context))

        def on_finished(job: FinishedJob) -> None:
            nonlocal last_end
            last_end = time.monotonic()
            log(job)

        options = _worker_options(context, limits, on_finished, own_ids)
        render_session = comfyui.render_session()
        report = RenderWorker(
            engine,
            store,
            render_session,
            renderer(engine, store, render_session),
            registration=WorkerRegistration(context.run_id, kind, day.tenant, day.day),
            options=options,
        ).run()
        with transaction(engine) as session:
            outputs = tuple(job_queue.outputs_of_day(session, day, kind))
            shown = own_ids | {job.job_id for job in report.failed}
            rows = job_queue.get_jobs(session, day.tenant, shown)
        manifest = DayManifest(tenant=day.tenant, day=day.day, kind=kind.plural, outputs=outputs)
        published = publish(store, manifest)
        seconds = last_end - started
        metadata = rendering_metadata(
            store, manifest, report, rows, own_ids=own_ids, worker_seconds=seconds
        )
        return dg.Output(
            manifest,
            metadata=metadata | stored_metadata(published.stored),
            data_version=dg.DataVersion(manifest.version),
        )


def _worker_options(
    context: dg.OpExecutionContext,
    limits: LimitsResource,
    on_finished: Callable[[FinishedJob], None],
    own_ids: Collection[UUID],
) -> WorkerOptions:
    def num_waiting() -> int:
        # Dagster's storage may be unavailable for a moment, which must not end the worker.
        with suppress(Exception):
            return num_runs_waiting_for_pool(context.instance, context.op_def.pool or "")
        return 0

    warn = optional(context.log.warning)
    return WorkerOptions(
        idle_timeout_seconds=limits.generation_idle_timeout_seconds,
        time_slice_seconds=limits.generation_time_slice_seconds,
        on_finished=on_finished,
        own_jobs=own_ids,
        num_waiting=num_waiting,
        on_full=lambda pause: warn(
            f"no job is claimed, and renders wait to be stored, until there is space: {pause.error}"
        ),
    )


def _log_job(context: dg.OpExecutionContext, job: FinishedJob) -> None:
    if job.output is None:
        # It may be retried, here or on another server; the check `no_job_failed` lists the failed.
        context.log.warning(f"job {job.job_id} failed in attempt {job.attempt}: {job.error}")
    else:
        context.log.info(
            f"job {job.job_id} is {job.output.file.object_key} "
            f"(waited {job.wait_seconds:.1f} s, rendered in {job.seconds:.1f} s)"
        )


def generated_asset(
    op: dg.OpDefinition,
    kind: JobKind,
    engines: set[str],
    description: str,
    partition_mappings: dict[str, dg.PartitionMapping] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of an op that renders the jobs of a kind; its pool is the op's."""
    return dg.AssetsDefinition.from_op(
        op,
        keys_by_output_name={"result": dg.AssetKey(GENERATED_ASSETS[kind])},
        partitions_def=content_day_partitions,
        partition_mappings=partition_mappings,
        group_name="generation",
    ).map_asset_specs(
        lambda spec: spec.replace_attributes(kinds=engines, owners=[OWNER], description=description)
    )
