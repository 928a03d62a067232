"""Render one image job: one image, stored with its output.json, for asset `generated_images`.

generation/worker/worker.py claims jobs, render_job.py runs the workflow on a server.
"""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.manifests.outputs import LoraIngredient, OutputManifest
from influencerai_dagster.core.object_paths import output_key
from influencerai_dagster.core.sampling import ImageSampling, LoraUse
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db import loras as lora_rows
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.templates import (
    WorkflowTemplate,
    fill_image_workflow,
    workflow_sha256,
)
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.jobs import ImageJobPayload, LoraReference
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.base_models import find_family, has_base_model
from influencerai_dagster.generation.render.lora_files import check_lora_applies, install_lora
from influencerai_dagster.generation.render.render_job import (
    filename_prefix,
    load_template,
    render_workflow,
    single_image,
    store_output,
)
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.media.pngs import png_size
from influencerai_dagster.storage.manifests import load_unverified
from influencerai_dagster.storage.object_store import ObjectStore, WriteOnceStore


@dataclass(frozen=True)
class FamilyDefaults:
    """Values for the fields that an image job leaves open, by family of the base model."""

    workflow: str
    width_px: int
    height_px: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    base_model: str


FAMILY_DEFAULTS = {
    BaseModelFamily.SD15: FamilyDefaults(
        "sd15_text_to_image", 512, 768, 25, 7.0, "dpmpp_2m", "karras",
        "v1-5-pruned-emaonly.safetensors",
    ),
    BaseModelFamily.SDXL: FamilyDefaults(
        "sdxl_text_to_image", 832, 1216, 30, 6.0, "dpmpp_2m", "karras",
        "sd_xl_base_1.0.safetensors",
    ),
    BaseModelFamily.FLUX: FamilyDefaults(
        "flux_text_to_image", 832, 1216, 20, 1.0, "euler", "simple", "flux1-dev.safetensors"
    ),
}  # fmt: skip


_BY_FAMILY = ("workflow", "width_px", "height_px", "steps", "cfg")
"""The fields that a job has to name if the family of its base model is unknown."""


@dataclass
class ImageRenderer:
    """Renders image jobs; one instance serves all threads of a worker."""

    engine: Engine
    store: ObjectStore
    render_session: RenderSession
    _store: WriteOnceStore = field(init=False)
    _installed: dict[str, str] = field(default_factory=dict)
    _families: dict[str, BaseModelFamily] = field(default_factory=dict)
    _manifests: dict[str, LoraManifest] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._store = self.render_session.retrying_store(self.engine, self.store)

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one image job, store output.png and output.json, return both.

        Raises:
            PermanentError: the job cannot be rendered; the text is for the tenant.
            TransientError: the server, S3 or PostgreSQL failed in passing.
        """
        payload = job.payload
        if not isinstance(payload, ImageJobPayload):
            raise PermanentError(f"job {job.id} is a {payload.kind} job, not an image job")
        loras = self._resolve(job.tenant, payload.loras)
        sampling, template = self._plan(job, payload, loras, server)
        workflow = fill_image_workflow(template, sampling, filename_prefix=filename_prefix(job))
        names = frozenset(lora.lora_name for lora in sampling.loras)
        rendered = render_workflow(
            self.render_session,
            server,
            job,
            workflow,
            lora_names=None if template.is_shipped else names,
        )
        content = single_image(rendered.result)
        width_px, height_px = png_size(content)
        key = output_key(JobKind.IMAGE, job.tenant, job.id, job.lease_token, ".png")
        output = OutputManifest(
            tenant=job.tenant,
            job_id=job.id,
            kind=JobKind.IMAGE,
            file=self._store.put_new(
                key, content, content_type="image/png", skip_exists_check=True
            ),
            width_px=width_px,
            height_px=height_px,
            sampling=sampling,
            loras=tuple(_ingredient(reference, lora) for reference, lora in loras),
            workflow_name=template.name,
            workflow_sha256=workflow_sha256(workflow),
            comfyui_url=rendered.url,
            comfyui_version=rendered.server.comfyui_version,
            prompt_id=rendered.result.prompt_id,
            render_seconds=rendered.result.seconds,
            is_simulated=rendered.server.is_simulated,
            created_at=datetime.now(UTC),
        )
        return output, store_output(self._store, output, job)

    def _resolve(
        self, tenant: str, references: tuple[LoraReference, ...]
    ) -> list[tuple[LoraReference, LoraManifest]]:
        """Find the LoRA of every reference among those of the tenant."""
        found = []
        for reference in references:
            with transaction(self.engine) as session:
                row = (
                    lora_rows.newest_lora(session, tenant, reference.dataset)
                    if reference.lora_id is None
                    else lora_rows.get_lora(session, tenant, reference.lora_id)
                )
            if row is None:
                wanted = reference.lora_id or f"of dataset {reference.dataset}"
                raise PermanentError(f"tenant {tenant} has no LoRA {wanted}; train it first")
            found.append((reference, self._manifest(row.manifest_key)))
        families = {lora.base_model_family for _, lora in found}
        if len(families) > 1:
            named = ", ".join(f"{lora.lora_id} ({lora.base_model_family})" for _, lora in found)
            raise PermanentError(f"these LoRAs fit different base models: {named}. Use one family.")
        return found

    def _manifest(self, key: str) -> LoraManifest:
        """Read the manifest of a LoRA once for all jobs of this worker: it never changes."""
        if key not in self._manifests:
            self._manifests[key] = load_unverified(self._store, key, LoraManifest).manifest
        return self._manifests[key]

    def _plan(
        self,
        job: ClaimedJob,
        payload: ImageJobPayload,
        loras: list[tuple[LoraReference, LoraManifest]],
        server: str,
    ) -> tuple[ImageSampling, WorkflowTemplate]:
        """Fill the open fields of a job from its LoRA, its family's defaults and the template."""
        config = loras[0][1].config if loras else None
        named = self._family_of(payload, server)
        family = config.base_model_family if config else named or BaseModelFamily.SD15
        if payload.base_model and not config and named is None:
            self._refuse_to_guess(payload, payload.base_model, server)
        if named not in {None, family}:
            raise PermanentError(
                f"LoRA {loras[0][1].lora_id} fits base models of {family}, but the job asks for "
                f"{payload.base_model}, which is {named}. Leave base_model out, or name one of "
                f"{family}."
            )
        defaults = FAMILY_DEFAULTS[family]
        sampling = ImageSampling(
            prompt=payload.prompt,
            negative_prompt=payload.negative_prompt,
            seed=payload.seed or 0,
            steps=payload.steps or defaults.steps,
            cfg=defaults.cfg if payload.cfg is None else payload.cfg,
            sampler_name=payload.sampler_name or defaults.sampler_name,
            scheduler=payload.scheduler or defaults.scheduler,
            width_px=payload.width_px or defaults.width_px,
            height_px=payload.height_px or defaults.height_px,
            base_model=payload.base_model or (config.base_model if config else defaults.base_model),
            loras=tuple(self._use(job.id, reference, lora) for reference, lora in loras),
        )
        if self.render_session.lora_dir is not None:
            for use in sampling.loras:
                check_lora_applies(self.render_session.lora_dir, use.lora_name, sampling.base_model)
        name = payload.workflow or defaults.workflow
        return sampling, load_template(
            self._store, job.tenant, name, self.render_session.tenant_nodes
        )

    def _family_of(self, payload: ImageJobPayload, server: str) -> BaseModelFamily | None:
        """Return the family of the base model that a job names; None if it is unknown."""
        for family, defaults in FAMILY_DEFAULTS.items():
            if payload.base_model == defaults.base_model:
                return family
        if payload.base_model is None:
            return None
        known = self._families.get(payload.base_model)
        if known is None:
            known = find_family(self.render_session, server, payload.base_model)
        if known is not None:  # an unknown one may be known later
            self._families[payload.base_model] = known
        return known

    def _refuse_to_guess(self, payload: ImageJobPayload, base_model: str, server: str) -> None:
        """Refuse a job that leaves fields open which depend on an unknown family."""
        is_open = [name for name in _BY_FAMILY if getattr(payload, name) is None]
        if is_open and has_base_model(self.render_session.server_pool[server].client, base_model):
            where = (
                self.render_session.lora_dir.parent
                if self.render_session.lora_dir
                else "COMFYUI_LORA_DIR/.."
            )
            raise PermanentError(
                f"the family of base model {base_model} ({', '.join(FAMILY_DEFAULTS)}) is unknown: "
                f"the server has no metadata of it, and it is not in {where}. Name "
                f"{', '.join(is_open)} in the job."
            )

    def _use(self, job_id: UUID, reference: LoraReference, lora: LoraManifest) -> LoraUse:
        """Install a LoRA's file once for all jobs of this worker."""
        self.render_session.check_wanted(job_id)
        with self._lock:
            if lora.lora_id not in self._installed:
                self._installed[lora.lora_id] = install_lora(
                    self._store, lora, self.render_session.lora_dir
                )
        return LoraUse(
            lora_name=self._installed[lora.lora_id],
            strength_model=reference.strength_model,
            strength_clip=reference.strength_clip,
        )


def _ingredient(reference: LoraReference, lora: LoraManifest) -> LoraIngredient:
    return LoraIngredient(
        lora_id=lora.lora_id,
        dataset=lora.dataset,
        dataset_version=lora.dataset_version,
        strength_model=reference.strength_model,
    )
