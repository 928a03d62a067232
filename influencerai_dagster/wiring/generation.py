"""Build what submits and renders generation jobs."""

from functools import partial

from sqlalchemy import Engine

from influencerai_dagster.engines.comfyui.server import ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.generation.render.job_checks import JobChecks
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore

_GRACE_SECONDS = 30.0
"""A render over its time limit is interrupted, which takes up to 15 s to act."""


def render_session(settings: Settings) -> RenderSession:
    """Return the ComfyUI servers of one process."""
    comfyui = settings.comfyui
    return RenderSession(
        server_pool=ServerPool(
            comfyui.urls, ServerTimes(stuck_seconds=comfyui.timeout_seconds + _GRACE_SECONDS)
        ),
        lora_dir=comfyui.lora_dir,
        timeout_seconds=comfyui.timeout_seconds,
        tenant_nodes=frozenset(comfyui.tenant_nodes),
    )


def job_submitter(settings: Settings, engine: Engine, store: ObjectStore) -> JobSubmitter:
    """Return what puts jobs into the job queue, with the limit and the checks of the settings."""
    comfyui = settings.comfyui
    return JobSubmitter(
        engine,
        settings.generation.max_pending_jobs_per_tenant,
        partial(JobChecks, store, comfyui.urls, frozenset(comfyui.tenant_nodes)),
    )
