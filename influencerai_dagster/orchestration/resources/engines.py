"""ComfyUI, kohya and the auto-captioner for ops: where they are, from the settings."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine

from influencerai_dagster.core.manifests.captions import CaptionSource
from influencerai_dagster.db.response_cache import ResponseCache
from influencerai_dagster.engines.comfyui.server import ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.engines.kohya.captioners import BlipCaptioner, Wd14Captioner
from influencerai_dagster.engines.openrouter.captioner import OpenRouterCaptioner
from influencerai_dagster.engines.openrouter.client import OpenRouterClient
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.render.job_checks import JobChecks
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.captions import Captioner
from influencerai_dagster.training.loras import Trainer

_GRACE_SECONDS = 30.0
"""A render over its time limit is interrupted, which takes up to 15 s to act."""
_RETRIES_LAST = timedelta(days=1)
"""No run is older (dagster.yaml)."""


class ComfyUIResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The ComfyUI servers.

    Attributes:
        urls: COMFYUI_URL, with commas; by name, because it may hold passwords.
        lora_dir: COMFYUI_LORA_DIR, "" if it is not set.
        timeout_seconds: COMFYUI_TIMEOUT.
        tenant_nodes: COMFYUI_TENANT_NODES.
    """

    urls: str
    lora_dir: str
    timeout_seconds: float
    tenant_nodes: list[str] = Field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        """The address of every server."""
        return [url.strip().rstrip("/") for url in self.urls.split(",") if url.strip()]

    def job_checks(self, store: ObjectStore) -> JobChecks:
        """Return what submitted jobs are compared with."""
        return JobChecks(store, self.addresses, frozenset(self.tenant_nodes))

    def render_session(self) -> RenderSession:
        """Return the servers as the stages take them."""
        return RenderSession(
            server_pool=ServerPool(
                self.addresses, ServerTimes(stuck_seconds=self.timeout_seconds + _GRACE_SECONDS)
            ),
            lora_dir=Path(self.lora_dir) if self.lora_dir else None,
            timeout_seconds=self.timeout_seconds,
            tenant_nodes=frozenset(self.tenant_nodes),
        )


class KohyaResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """kohya sd-scripts and the folders a training needs; "" is "not set".

    Attributes:
        is_gpu_shared: GPU_SHARED, ComfyUI has to give its memory back before a training.
        extra_variables: KOHYA_EXTRA_VARIABLES, with commas.
    """

    sd_scripts_dir: str
    python: str
    models_dir: str
    training_dir: str
    tokenizer_cache_dir: str
    is_gpu_shared: bool = False
    extra_variables: str = ""

    def trainer(self) -> Trainer:
        """Return the installation as the stages take it; PermanentError names what is not set."""
        required = {"KOHYA_DIR": self.sd_scripts_dir, "KOHYA_MODELS_DIR": self.models_dir}
        missing = [name for name, value in required.items() if not value]
        if missing:
            raise PermanentError(
                f"{' and '.join(missing)} not set: name the folder of kohya sd-scripts and the "
                "folder of the base models, then run `influencerai doctor`."
            )
        cache = self.tokenizer_cache_dir
        return Trainer(
            sd_scripts_dir=Path(self.sd_scripts_dir),
            python=Path(self.python),
            models_dir=Path(self.models_dir),
            training_dir=Path(self.training_dir),
            tokenizer_cache_dir=Path(cache) if cache else None,
            extra_variables=_names(self.extra_variables),
        )


class CaptionerResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The auto-captioner.

    Attributes:
        kind: AUTO_CAPTIONER, or "" when ENABLE_AUTO_CAPTIONS is off.
        openrouter_api_key: only read when `kind` is "openrouter".
        answers_kept_seconds: OPENROUTER_CACHE_TTL; 0 keeps them for the retries of a run alone.
    """

    kind: str = ""
    kohya_dir: str = ""
    kohya_python: str = ""
    work_dir: str = ""
    extra_variables: str = ""
    openrouter_api_key: str = ""
    openrouter_base_url: str = ""
    openrouter_model: str = ""
    answers_kept_seconds: float = 0.0

    def response_cache(self, engine: Engine, tenant: str, run_id: str) -> ResponseCache | None:
        """Return a tenant's response cache, or None if this captioner costs nothing."""
        if self.kind != CaptionSource.OPENROUTER:
            return None
        if not self.answers_kept_seconds:
            return ResponseCache(engine, tenant, _RETRIES_LAST, only_in_run=run_id)
        return ResponseCache(engine, tenant, timedelta(seconds=self.answers_kept_seconds))

    def captioner(
        self, cache: ResponseCache | None = None
    ) -> tuple[Captioner | None, CaptionSource]:
        """Return the captioner and its name in the manifest; (None, class) when it is off."""
        if not self.kind:
            return None, CaptionSource.CLASS
        source = CaptionSource(self.kind)
        if source == CaptionSource.OPENROUTER:
            if not self.openrouter_api_key:
                raise PermanentError(
                    "AUTO_CAPTIONER=openrouter needs OPENROUTER_API_KEY; it is not set"
                )
            client = OpenRouterClient(
                api_key=self.openrouter_api_key, base_url=self.openrouter_base_url
            )
            return OpenRouterCaptioner(client, self.openrouter_model, cache=cache), source
        if not self.kohya_dir:
            raise PermanentError(f"AUTO_CAPTIONER={self.kind} needs KOHYA_DIR; it is not set")
        sd_scripts_dir, python = Path(self.kohya_dir), Path(self.kohya_python)
        work_dir, extra_variables = Path(self.work_dir), _names(self.extra_variables)
        if source == CaptionSource.BLIP:
            return BlipCaptioner(
                sd_scripts_dir=sd_scripts_dir,
                python=python,
                work_dir=work_dir,
                extra_variables=extra_variables,
            ), source
        return Wd14Captioner(
            sd_scripts_dir=sd_scripts_dir,
            python=python,
            work_dir=work_dir,
            model_dir=work_dir / "wd14-model",
            extra_variables=extra_variables,
        ), source


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
