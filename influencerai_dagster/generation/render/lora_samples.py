"""Render sample images of a new LoRA at several strengths, for asset `lora_samples`.

The prompts and seeds are the same for every LoRA, so that two can be compared side by side.
"""

import uuid
from collections.abc import Callable

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.manifests.loras import LoraManifest, LoraSample, LoraSamplesManifest
from influencerai_dagster.core.object_paths import lora_samples_key
from influencerai_dagster.core.sampling import ImageSampling, LoraUse
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.engines.comfyui.values import RenderRequest
from influencerai_dagster.generation.render.images import FAMILY_DEFAULTS
from influencerai_dagster.generation.render.lora_files import check_lora_applies, install_lora
from influencerai_dagster.generation.render.render_job import single_image
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.media.contact_sheets import grid
from influencerai_dagster.storage.manifests import Published, publish
from influencerai_dagster.storage.object_store import ObjectStore

PROMPTS = ("portrait photo, soft light", "full body photo, walking in a city street")
SEEDS = (1234, 5678)
STRENGTHS = (0.0, 0.6, 1.0)
NEGATIVE_PROMPT = "lowres, blurry, deformed"


def render_samples(
    store: ObjectStore,
    render_session: RenderSession,
    lora: LoraManifest,
    on_progress: Callable[[int, int], None],
) -> tuple[Published[LoraSamplesManifest], bytes]:
    """Render every prompt at every strength, store the images and their grid, publish the manifest.

    Args:
        on_progress: called with (images done, images in all).

    Returns:
        The published manifest, and the grid as a JPEG: one row per prompt, one column per
        strength; strength 0 is the base model alone.

    Raises:
        PermanentError: the LoRA does not fit its base model, or a node failed for good.
        TransientError: ComfyUI or S3 failed in passing; run again.
    """
    lora_name = install_lora(store, lora, render_session.lora_dir)
    if render_session.lora_dir is not None:
        check_lora_applies(render_session.lora_dir, lora_name, lora.config.base_model)
    plan = [
        (prompt, seed, strength)
        for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
        for strength in STRENGTHS
    ]
    rendered: list[bytes] = []
    with render_session.server_pool as server_pool:
        server = None
        for prompt, seed, strength in plan:
            attempt_id = str(uuid.uuid4())
            workflow = fill_image_workflow(
                shipped_template(FAMILY_DEFAULTS[lora.base_model_family].workflow),
                _sampling(lora, lora_name, prompt, seed, strength),
                filename_prefix=f"{lora.tenant}/samples/{lora.lora_id}-{attempt_id}",
            )
            server = server or server_pool.least_loaded_for(workflow)
            timeout_seconds = render_session.timeout_seconds
            result = server.run(RenderRequest(workflow, attempt_id, timeout_seconds, is_new=True))
            rendered.append(single_image(result))
            on_progress(len(rendered), len(plan))
    samples = tuple(
        _store(store, lora, image, spec) for image, spec in zip(rendered, plan, strict=True)
    )
    sheet = grid(PROMPTS, [f"strength {value:g}" for value in STRENGTHS], rendered)
    sheet_key = lora_samples_key(lora.tenant, lora.lora_id, f"grid-{sha256_hex(sheet)[:16]}.jpg")
    store.put_new(sheet_key, sheet, content_type="image/jpeg")
    manifest = LoraSamplesManifest(
        tenant=lora.tenant,
        dataset=lora.dataset,
        lora_id=lora.lora_id,
        samples=samples,
        grid_key=sheet_key,
    )
    return publish(store, manifest), sheet


def _sampling(
    lora: LoraManifest, lora_name: str, prompt: str, seed: int, strength: float
) -> ImageSampling:
    defaults = FAMILY_DEFAULTS[lora.base_model_family]
    use = LoraUse(lora_name=lora_name, strength_model=strength, strength_clip=strength)
    return ImageSampling(
        prompt=f"{lora.trigger_phrase}, {prompt}",
        negative_prompt=NEGATIVE_PROMPT,
        seed=seed,
        steps=defaults.steps,
        cfg=defaults.cfg,
        sampler_name=defaults.sampler_name,
        scheduler=defaults.scheduler,
        width_px=defaults.width_px,
        height_px=defaults.height_px,
        base_model=lora.config.base_model,
        loras=(use,) if strength else (),
    )


def _store(
    store: ObjectStore, lora: LoraManifest, image: bytes, spec: tuple[str, int, float]
) -> LoraSample:
    prompt, seed, strength = spec
    name = f"{sha256_hex(image)[:16]}.png"
    stored = store.put_new(
        lora_samples_key(lora.tenant, lora.lora_id, name), image, content_type="image/png"
    )
    return LoraSample(
        prompt=prompt,
        seed=seed,
        strength_model=strength,
        object_key=stored.object_key,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
    )
