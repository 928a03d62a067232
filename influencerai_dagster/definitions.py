"""What Dagster loads: every asset, check, job, sensor and resource, listed by hand.

Settings become resources here and nowhere else. `build_definitions` takes other resources, so that
a test builds the same location on its own servers.
"""

import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import SecretStr

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.orchestration import jobs
from influencerai_dagster.orchestration.backups.checks import (
    no_database_backup_is_too_old,
    wal_is_received,
)
from influencerai_dagster.orchestration.backups.database_backups import database_backup
from influencerai_dagster.orchestration.backups.database_backups_sensor import (
    database_backup_sensor,
)
from influencerai_dagster.orchestration.backups.object_backups import object_backup
from influencerai_dagster.orchestration.backups.restore_drill_schedules import (
    restore_drill_schedule,
)
from influencerai_dagster.orchestration.backups.restore_drills import restore_drill
from influencerai_dagster.orchestration.backups.schedules import database_backup_schedules
from influencerai_dagster.orchestration.generation.checks import (
    every_video_fits_its_platform,
    jobs_completed_check,
    outputs_stored_check,
)
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import pending_jobs_sensor
from influencerai_dagster.orchestration.generation.pools import on_shared_gpu
from influencerai_dagster.orchestration.generation.worker import (
    generated_images_asset,
    generated_videos_asset,
    render_images,
    render_videos,
)
from influencerai_dagster.orchestration.manifest_io_manager import manifest_io_manager
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.database_backups import DatabaseBackupResource
from influencerai_dagster.orchestration.resources.engines import (
    CaptionerResource,
    ComfyUIResource,
    KohyaResource,
)
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_backups import ObjectBackupResource
from influencerai_dagster.orchestration.resources.object_store import (
    ObjectStoreResource,
    PathStyleS3Resource,
)
from influencerai_dagster.orchestration.resources.restore_drills import RestoreDrillResource
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.orchestration.retention.assets import apply_retention
from influencerai_dagster.orchestration.retention.checks import object_store_has_space
from influencerai_dagster.orchestration.retention.schedules import (
    object_backup_schedule,
    retention_schedule,
)
from influencerai_dagster.orchestration.retention.storage_pauses_sensor import storage_pause_sensor
from influencerai_dagster.orchestration.run_config import executor, without_run_config
from influencerai_dagster.orchestration.runs.stale_runs_sensor import stale_runs_sensor
from influencerai_dagster.orchestration.training.automation_sensor import lora_automation_sensor
from influencerai_dagster.orchestration.training.caption_checks import (
    captioner_refused_no_image,
    every_image_has_a_caption,
)
from influencerai_dagster.orchestration.training.captions import captions
from influencerai_dagster.orchestration.training.dataset_checks import (
    dataset_captions_check,
    dataset_has_images,
    dataset_rights_check,
    every_image_can_be_trained,
)
from influencerai_dagster.orchestration.training.dataset_uploads_sensor import dataset_upload_sensor
from influencerai_dagster.orchestration.training.datasets import dataset
from influencerai_dagster.orchestration.training.lora_assets import (
    lora_samples_asset,
    lora_weights_asset,
)
from influencerai_dagster.orchestration.training.lora_checks import (
    lora_changes_the_image,
    lora_weights_are_stored,
)
from influencerai_dagster.orchestration.training.loras import render_lora_samples, train_lora
from influencerai_dagster.program_environment import ignore_postgres_variables
from influencerai_dagster.settings import Settings, load_settings


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return the resources that the settings describe."""
    object_store = ObjectStoreResource(
        s3=PathStyleS3Resource(
            endpoint_url=settings.s3.endpoint,
            region_name=settings.s3.region,
            # Without keys boto3 looks for its own: an instance role, a profile.
            aws_access_key_id=settings.s3.key or None,
            aws_secret_access_key=settings.s3.secret.get_secret_value() or None,
            force_path_style=settings.s3.force_path_style,
            checksum_mode=settings.s3.checksum_mode,
        ),
        bucket=settings.s3.bucket,
        disk=str(settings.s3.disk) if settings.s3.disk else None,
    )
    kohya_python = str(settings.kohya.python or sys.executable)
    return {
        "object_store": object_store,
        "io_manager": manifest_io_manager,
        "catalog": CatalogResource(database_url=settings.database.url),
        "comfyui": ComfyUIResource(
            urls=",".join(settings.comfyui.urls),
            lora_dir=str(settings.comfyui.lora_dir or ""),
            timeout_seconds=settings.comfyui.timeout_seconds,
            tenant_nodes=list(settings.comfyui.tenant_nodes),
        ),
        "kohya": KohyaResource(
            sd_scripts_dir=str(settings.kohya.dir or ""),
            python=kohya_python,
            models_dir=str(settings.kohya.models_dir or ""),
            training_dir=str(settings.training.dir),
            tokenizer_cache_dir=str(settings.kohya.tokenizer_cache_dir or ""),
            is_gpu_shared=settings.training.is_gpu_shared,
            extra_variables=",".join(settings.kohya.extra_variables),
        ),
        "captioner": _captioner(settings, kohya_python),
        "database_backups": _database_backups(settings),
        "object_backups": _object_backups(settings, object_store),
        "restore_drills": RestoreDrillResource(
            database_backups=_database_backups(settings),
            object_backups=_object_backups(settings, object_store),
        ),
        "retention": RetentionResource(
            days=settings.retention.days,
            is_dry_run=settings.retention.is_dry_run,
            recovery_window_days=settings.backup.recovery_window_days,
            dagster_database_url=settings.dagster.database_url,
        ),
        "limits": LimitsResource(
            max_upload_size_bytes=settings.datasets.max_upload_size_bytes,
            max_dataset_images=settings.datasets.max_images,
            max_image_pixels=settings.datasets.max_image_pixels,
            min_image_side_px=settings.datasets.min_image_side_px,
            default_training_preset=settings.training.default_preset,
            generation_idle_timeout_seconds=settings.generation.idle_timeout_seconds,
            generation_time_slice_seconds=settings.generation.time_slice_seconds,
            max_pending_jobs_per_tenant=settings.generation.max_pending_jobs_per_tenant,
        ),
    }


def _captioner(settings: Settings, kohya_python: str) -> CaptionerResource:
    if not settings.datasets.has_auto_captions:
        return CaptionerResource()
    if settings.datasets.auto_captioner == "openrouter":
        return CaptionerResource(
            kind="openrouter",
            openrouter_api_key=_secret(settings.openrouter.api_key),
            openrouter_base_url=settings.openrouter.base_url,
            openrouter_model=settings.openrouter.caption_model,
            answers_kept_seconds=(
                settings.openrouter.cache_ttl.total_seconds()
                if settings.openrouter.is_cache_enabled
                else 0.0
            ),
        )
    return CaptionerResource(
        kind=settings.datasets.auto_captioner,
        kohya_dir=str(settings.kohya.dir or ""),
        kohya_python=kohya_python,
        work_dir=str(settings.training.dir / "captions"),
        extra_variables=",".join(settings.kohya.extra_variables),
    )


def _database_backups(settings: Settings) -> DatabaseBackupResource:
    return DatabaseBackupResource(
        mode=settings.backup.database_mode,
        home=str(settings.backup.home),
        database_url=settings.database.url,
        dagster_database_url=settings.dagster.database_url,
        backup_database_url=settings.backup.database_url or settings.database.url,
        recovery_window_days=settings.backup.recovery_window_days,
        postgres_bin_dir=str(settings.backup.postgres_bin_dir or ""),
    )


def _object_backups(settings: Settings, object_store: ObjectStoreResource) -> ObjectBackupResource:
    return ObjectBackupResource(
        object_store=object_store,
        target=settings.backup.target or "",
        endpoint_url=settings.backup.s3_endpoint,
        access_key=settings.backup.s3_key,
        secret_key=_secret(settings.backup.s3_secret),
        region=settings.backup.s3_region,
        encryption_key=_secret(settings.backup.encryption_key),
        bandwidth_limit=settings.backup.bandwidth_limit,
        home=str(settings.backup.home),
        recovery_window_days=settings.backup.recovery_window_days,
    )


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def build_definitions(
    settings: Settings, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Return the code location.

    Args:
        settings: become the resources, the pools, and the policies of checks and sensors.
        resources: used instead of those, by key.
    """

    def pooled(op: dg.OpDefinition) -> dg.OpDefinition:
        return on_shared_gpu(op) if settings.training.is_gpu_shared else op

    return dg.Definitions(
        assets=[
            dataset,
            captions,
            lora_weights_asset(pooled(train_lora)),
            lora_samples_asset(pooled(render_lora_samples)),
            generated_images_asset(pooled(render_images)),
            generated_videos_asset(pooled(render_videos)),
            database_backup,
            object_backup,
            restore_drill,
            apply_retention,
        ],
        asset_checks=_asset_checks(settings),
        jobs=[*jobs.JOBS.values()],
        schedules=[
            *database_backup_schedules(settings.backup.time_zone),
            object_backup_schedule(settings.backup.time_zone),
            restore_drill_schedule(settings.backup.time_zone),
            retention_schedule(settings.backup.time_zone),
        ],
        sensors=[
            dataset_upload_sensor(settle_seconds=settings.datasets.settle_seconds),
            pending_jobs_sensor,
            stale_runs_sensor(),
            lora_automation_sensor,
            database_backup_sensor,
            storage_pause_sensor,
        ],
        resources={
            key: without_run_config(resource)
            for key, resource in {**build_resources(settings), **(resources or {})}.items()
        },
        executor=executor,
    )


def _asset_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    return [
        dataset_has_images,
        every_image_can_be_trained,
        dataset_captions_check(is_blocking=settings.datasets.captions == "block"),
        dataset_rights_check(is_blocking=settings.datasets.rights == "block"),
        every_image_has_a_caption,
        captioner_refused_no_image,
        lora_weights_are_stored,
        lora_changes_the_image,
        outputs_stored_check("generated_images"),
        jobs_completed_check("generated_images", JobKind.IMAGE),
        outputs_stored_check("generated_videos"),
        jobs_completed_check("generated_videos", JobKind.VIDEO),
        every_video_fits_its_platform,
        no_database_backup_is_too_old,
        wal_is_received,
        object_store_has_space,
    ]


# Otherwise libpq would look there for more than a URL says.
ignore_postgres_variables()
defs = build_definitions(load_settings())
