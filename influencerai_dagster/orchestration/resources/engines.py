"""Give ops ComfyUI, kohya and the auto-captioner."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.manifests.captions import CaptionSource
from influencerai_dagster.db.response_cache import ResponseCache
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.captions import Captioner
from influencerai_dagster.training.loras import Trainer
from influencerai_dagster.wiring import generation, training


@dataclass(frozen=True)
class ComfyUIServers:
    """The ComfyUI servers."""

    settings: Settings

    @property
    def addresses(self) -> Sequence[str]:
        """The address of every server."""
        return self.settings.comfyui.urls

    @property
    def timeout_seconds(self) -> float:
        """How long one render may take."""
        return self.settings.comfyui.timeout_seconds

    def job_submitter(self, engine: Engine, store: ObjectStore) -> JobSubmitter:
        """Return what puts the jobs of a run config into the job queue."""
        return generation.job_submitter(self.settings, engine, store)

    def render_session(self) -> RenderSession:
        """Return the servers as render workers use them."""
        return generation.render_session(self.settings)


@dataclass(frozen=True)
class Kohya:
    """kohya sd-scripts and the folders of a training."""

    settings: Settings

    @property
    def is_gpu_shared(self) -> bool:
        """Whether ComfyUI has to free its memory before a training."""
        return self.settings.training.is_gpu_shared

    def trainer(self) -> Trainer:
        """Return the installation; PermanentError names the setting that is missing."""
        return training.trainer(self.settings)


@dataclass(frozen=True)
class AutoCaptioner:
    """The captioner of images that have no caption file."""

    settings: Settings

    def response_cache(self, engine: Engine, tenant: str, run_id: str) -> ResponseCache | None:
        """Return a tenant's cached responses; None if this captioner costs nothing."""
        return training.response_cache(self.settings, engine, tenant, run_id)

    def captioner(
        self, cache: ResponseCache | None = None
    ) -> tuple[Captioner | None, CaptionSource]:
        """Return the captioner and its name in the manifest; (None, class) when it is off."""
        found = training.captioner(self.settings, cache)
        return found, training.captioner_source(self.settings)


ComfyUIResource = dg.ResourceParam[ComfyUIServers]
KohyaResource = dg.ResourceParam[Kohya]
CaptionerResource = dg.ResourceParam[AutoCaptioner]
