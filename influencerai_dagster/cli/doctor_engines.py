"""Check ComfyUI, sd-scripts and OpenRouter for `influencerai doctor`, by trying each."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from influencerai_dagster.core.lora_training import BaseModelFamily, LoraConfig
from influencerai_dagster.core.sampling import UpscaleSampling
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.kohya.installation import missing_tokenizers, try_installation
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.media.base_models import find_base_model
from influencerai_dagster.media.safetensors_files import base_model_family
from influencerai_dagster.settings import Settings
from influencerai_dagster.training.lora_configs import all_configs, resolve_preset
from influencerai_dagster.training.loras import FLUX_FILES
from influencerai_dagster.wiring.stores import catalog_engine
from influencerai_dagster.wiring.training import kohya_python, openrouter_client

TIMEOUT_SECONDS = 10.0
LORA_SEEN_SECONDS = 5.0
"""A shared disk may show a new file so much later on another machine."""
_POLL_SECONDS = 0.2
_GIB = 1024**3


def comfyui(url: str) -> str:
    """Return the version of a server, and the device that it computes on."""
    with ComfyUIClient(url, timeout_seconds=TIMEOUT_SECONDS) as client:
        stats = client.system_stats()
        checkpoints = client.models("checkpoints")
        upscale_models = client.models("upscale_models")
    if not checkpoints:
        raise PermanentError("it has no checkpoint: put a base model into models/checkpoints")
    memory = f"{stats.vram_free_bytes / _GIB:.1f} GiB VRAM free"
    if all(device.type == "cpu" for device in stats.devices):
        free_gib = stats.system.ram_free_bytes / _GIB
        memory = f"no GPU: it renders on the CPU, with {free_gib:.1f} GiB of memory free"
    models = f"{len(checkpoints)} checkpoints, {_upscale_models(upscale_models)}"
    return f"{stats.comfyui_version}, {models}, {memory}"


def _upscale_models(found: Sequence[str]) -> str:
    """Return how many there are; where upscale jobs would be refused, what is missing."""
    default = UpscaleSampling.model_fields["upscale_model"].default
    if default in found:
        return f"{len(found)} upscale models"
    if found:
        return (
            f"{len(found)} upscale models without {default}: an upscale job has to name one of "
            f"{', '.join(found[:5])} in upscale_model"
        )
    return (
        f"no upscale model: upscale jobs are refused until {default}, or another one that they "
        "name, is in models/upscale_models"
    )


def lora_dir(
    path: Path | None, urls: tuple[str, ...], *, seen_seconds: float = LORA_SEEN_SECONDS
) -> str:
    """Write a file there, and ask every server that answers whether it lists the file.

    Args:
        path: COMFYUI_LORA_DIR.
        urls: the servers.
        seen_seconds: how long a server may take to see the file.
    """
    if path is None:
        raise PermanentError("COMFYUI_LORA_DIR is not set: name ComfyUI's models/loras folder")
    probe = path / f"doctor-{time.time_ns()}.safetensors"
    try:
        probe.touch()
        blind, unreachable = _servers_without(probe.name, urls, seen_seconds)
    except OSError as error:
        raise PermanentError(f"{path} cannot be written to: {error.strerror}") from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    if blind:
        raise PermanentError(
            f"{path} is not the models/loras folder of {', '.join(blind)}: a file that was written "
            "there is not in its list. Set COMFYUI_LORA_DIR to the folder that ComfyUI reads, as "
            "this machine sees it, or add it to ComfyUI's extra_model_paths.yaml"
        )
    if unreachable:
        return f"{path}; not asked: {', '.join(unreachable)}"
    return f"{path}, every server sees it"


def _servers_without(
    name: str, urls: tuple[str, ...], seen_seconds: float
) -> tuple[list[str], list[str]]:
    """Return the servers that do not list a LoRA, and those that do not answer."""
    blind, unreachable = [], []
    deadline = time.monotonic() + seen_seconds
    for url in urls:
        with ComfyUIClient(url, timeout_seconds=TIMEOUT_SECONDS) as client:
            try:
                while name not in client.models("loras"):
                    if time.monotonic() > deadline:
                        blind.append(client.url)
                        break
                    time.sleep(_POLL_SECONDS)
            except InfluencerAIError:  # its own line says why
                unreachable.append(client.url)
    return blind, unreachable


def kohya(settings: Settings) -> str:
    """Start the trainer of each family that is in use, and return its device."""
    folder = settings.kohya.dir
    if folder is None:
        raise PermanentError("KOHYA_DIR is not set: name a checkout of kohya-ss/sd-scripts")
    families = {config.base_model_family for config in _configs(settings).values()}
    found = {
        try_installation(
            folder, kohya_python(settings), family, extra_variables=settings.kohya.extra_variables
        )
        for family in sorted(families)
    }
    return f"{folder}: {'; '.join(sorted(found))}"


def training_models(settings: Settings) -> str:
    """Look for the base model and the tokenizers of every configuration that is in use."""
    models_dir = settings.kohya.models_dir
    if models_dir is None or not models_dir.is_dir():
        raise PermanentError(
            f"KOHYA_MODELS_DIR={models_dir or ''} is not a folder: name the one of the base models"
        )
    configs = _configs(settings)
    problems = [
        f"{name}: {problem}"
        for name, config in configs.items()
        for problem in _problems(config, models_dir, settings.kohya.tokenizer_cache_dir)
    ]
    if problems:
        raise PermanentError("\n".join(problems))
    return ", ".join(sorted({config.base_model for config in configs.values()}))


def _problems(config: LoraConfig, models_dir: Path, tokenizers_dir: Path | None) -> Iterator[str]:
    family = config.base_model_family
    try:
        found = base_model_family(find_base_model(models_dir, config.base_model))
        if found is not family:
            yield f"base model {config.base_model} is {found}, but the configuration says {family}"
    except PermanentError as error:
        yield str(error)
    if family is BaseModelFamily.FLUX:
        for file in FLUX_FILES.values():
            if not (models_dir / file).is_file():
                yield f"{models_dir / file} is missing, which FLUX needs"
    if tokenizers_dir is not None:
        for path in missing_tokenizers(tokenizers_dir, family):
            yield (
                f"{path} is missing: train once with internet access, or copy it, or unset "
                "KOHYA_TOKENIZER_CACHE_DIR"
            )


def _configs(settings: Settings) -> Mapping[str, LoraConfig]:
    """Return the LoRA configs in use by name: the default preset, and those of tenants."""
    default = settings.training.default_preset
    configs = {default: resolve_preset(default)}
    with suppress(InfluencerAIError):  # PostgreSQL has a line of its own
        engine = catalog_engine(settings)
        with transaction(engine) as session:
            configs |= all_configs(session)
        engine.dispose()
    return configs


def openrouter(settings: Settings) -> str:
    """Ask OpenRouter whether it accepts the key, which costs nothing."""
    openrouter_client(settings, timeout_seconds=TIMEOUT_SECONDS).check()
    chosen = settings.openrouter
    return f"{chosen.base_url} accepts the key; captions by {chosen.caption_model}"
