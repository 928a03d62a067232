"""Build what makes datasets, captions and LoRAs."""

import sys
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.core.manifests.captions import CaptionSource
from influencerai_dagster.db.response_cache import ResponseCache
from influencerai_dagster.engines.kohya.captioners import BlipCaptioner, Wd14Captioner
from influencerai_dagster.engines.openrouter.captioner import OpenRouterCaptioner
from influencerai_dagster.engines.openrouter.client import TIMEOUT_SECONDS, OpenRouterClient
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings import Settings
from influencerai_dagster.training.captions import Captioner
from influencerai_dagster.training.loras import Trainer

_RETRIES_LAST = timedelta(days=1)
"""No run is older (dagster.yaml)."""


def dataset_rules(settings: Settings) -> DatasetRules:
    """Return the limits of uploads."""
    datasets = settings.datasets
    return DatasetRules(
        max_upload_size_bytes=datasets.max_upload_size_bytes,
        max_images=datasets.max_images,
        max_pixels=datasets.max_image_pixels,
        min_side_px=datasets.min_image_side_px,
    )


def kohya_python(settings: Settings) -> Path:
    """Return the Python that runs sd-scripts: KOHYA_PYTHON, or the one of this process."""
    return settings.kohya.python or Path(sys.executable)


def trainer(settings: Settings) -> Trainer:
    """Return the installation of sd-scripts with the folders of a training.

    Raises:
        PermanentError: KOHYA_DIR or KOHYA_MODELS_DIR is not set.
    """
    kohya = settings.kohya
    if kohya.dir is None or kohya.models_dir is None:
        folders = {"KOHYA_DIR": kohya.dir, "KOHYA_MODELS_DIR": kohya.models_dir}
        missing = [name for name, folder in folders.items() if folder is None]
        raise PermanentError(
            f"{' and '.join(missing)} not set: name the folder of kohya sd-scripts and the "
            "folder of the base models, then run `influencerai doctor`."
        )
    return Trainer(
        sd_scripts_dir=kohya.dir,
        python=kohya_python(settings),
        models_dir=kohya.models_dir,
        training_dir=settings.training.dir,
        tokenizer_cache_dir=kohya.tokenizer_cache_dir,
        extra_variables=kohya.extra_variables,
    )


def captioner_source(settings: Settings) -> CaptionSource:
    """Return how images without a caption file get their captions."""
    datasets = settings.datasets
    return CaptionSource(datasets.auto_captioner if datasets.has_auto_captions else "class")


def captioner(settings: Settings, cache: ResponseCache | None = None) -> Captioner | None:
    """Return the auto-captioner; None if ENABLE_AUTO_CAPTIONS is off.

    Args:
        settings: which one, and where it is installed or reached.
        cache: responses of OpenRouter that are not paid for again.

    Raises:
        PermanentError: KOHYA_DIR or OPENROUTER_API_KEY is not set, and the captioner needs it.
    """
    source = captioner_source(settings)
    if source == CaptionSource.CLASS:
        return None
    if source == CaptionSource.OPENROUTER:
        client = openrouter_client(settings)
        return OpenRouterCaptioner(client, settings.openrouter.caption_model, cache=cache)
    if settings.kohya.dir is None:
        raise PermanentError(
            f"AUTO_CAPTIONER={source} cannot be used: KOHYA_DIR is not set. Name the folder of "
            "kohya sd-scripts"
        )
    work_dir = settings.training.dir / "captions"
    if source == CaptionSource.BLIP:
        return BlipCaptioner(
            sd_scripts_dir=settings.kohya.dir,
            python=kohya_python(settings),
            work_dir=work_dir,
            extra_variables=settings.kohya.extra_variables,
        )
    return Wd14Captioner(
        sd_scripts_dir=settings.kohya.dir,
        python=kohya_python(settings),
        work_dir=work_dir,
        model_dir=work_dir / "wd14-model",
        extra_variables=settings.kohya.extra_variables,
    )


def openrouter_client(
    settings: Settings, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> OpenRouterClient:
    """Return the client of OpenRouter.

    Raises:
        PermanentError: OPENROUTER_API_KEY is not set.
    """
    openrouter = settings.openrouter
    if openrouter.api_key is None:
        raise PermanentError(
            "AUTO_CAPTIONER=openrouter cannot be used: OPENROUTER_API_KEY is not set. Set it, or "
            "choose blip or wd14"
        )
    return OpenRouterClient(
        api_key=openrouter.api_key.get_secret_value(),
        base_url=openrouter.base_url,
        timeout_seconds=timeout_seconds,
    )


def response_cache(
    settings: Settings, engine: Engine, tenant: str, run_id: str
) -> ResponseCache | None:
    """Return a tenant's cached responses; None if the captioner costs nothing.

    Args:
        settings: OPENROUTER_CACHE_TTL and ENABLE_CACHING; without them responses are kept for the
            retries of one run alone.
        engine: of the catalog.
        tenant: whose responses.
        run_id: the Dagster run that asks, or the one that it repeats.
    """
    if captioner_source(settings) != CaptionSource.OPENROUTER:
        return None
    openrouter = settings.openrouter
    if not (openrouter.is_cache_enabled and openrouter.cache_ttl):
        return ResponseCache(engine, tenant, _RETRIES_LAST, only_in_run=run_id)
    return ResponseCache(engine, tenant, openrouter.cache_ttl)
