"""Find the family of a base model that a job names, by its file or its server's metadata."""

import logging
from contextlib import suppress

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.media.base_models import find_base_model
from influencerai_dagster.media.safetensors_files import base_model_family

_FOLDERS = ("checkpoints", "diffusion_models")
_ARCHITECTURES = {
    "stable-diffusion-v1": BaseModelFamily.SD15,
    "stable-diffusion-xl": BaseModelFamily.SDXL,
    "flux-1": BaseModelFamily.FLUX,
}
"""How `modelspec.architecture` begins (github.com/Stability-AI/ModelSpec)."""
_log = logging.getLogger(__name__)


def find_family(
    render_session: RenderSession, server: str, base_model: str
) -> BaseModelFamily | None:
    """Return the family of a base model; None if neither its file nor a server's metadata has it.

    Args:
        render_session: the servers; COMFYUI_LORA_DIR is beside the folders of their base models.
        server: its URL without credentials.
        base_model: as the job names it.
    """
    if render_session.lora_dir is not None:
        with suppress(PermanentError):  # not in this folder, or its header does not show the family
            return base_model_family(find_base_model(render_session.lora_dir.parent, base_model))
    others = [url for url in render_session.server_pool.usable() if url != server]
    for url in (server, *others):  # a name is one model wherever it is, and not all may have it
        family = _family_by_metadata(render_session.server_pool[url].client, base_model)
        if family is not None:
            return family
    _log.warning("the family of base model %s on %s is unknown", base_model, server)
    return None


def _family_by_metadata(client: ComfyUIClient, base_model: str) -> BaseModelFamily | None:
    with suppress(InfluencerAIError):  # old servers have no metadata
        for folder in _FOLDERS:
            architecture = client.model_metadata(folder, base_model).get(
                "modelspec.architecture", ""
            )
            for beginning, family in _ARCHITECTURES.items():
                if architecture.startswith(beginning):
                    return family
    return None


def has_base_model(client: ComfyUIClient, base_model: str) -> bool:
    """Return whether a server lists a base model of this name."""
    return any(base_model in client.models(folder) for folder in _FOLDERS)
