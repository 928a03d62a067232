"""Render one upscale job: an image made larger, with its output.json, for `generated_upscales`."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import DayManifest, OutputManifest
from influencerai_dagster.core.object_paths import output_key
from influencerai_dagster.core.sampling import UpscaleSampling
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.engines.comfyui.templates import fill_upscale_workflow, workflow_sha256
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.jobs import UpscaleJobPayload
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.render_job import (
    filename_prefix,
    load_output,
    load_template,
    render_workflow,
    single_image,
    source_image,
    store_output,
)
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.media.pngs import png_size
from influencerai_dagster.storage.object_store import ObjectStore, WriteOnceStore

_DEFAULT_WORKFLOW = "upscale_image"


@dataclass
class UpscaleRenderer:
    """Renders upscale jobs; one instance serves all threads of a worker."""

    engine: Engine
    store: ObjectStore
    render_session: RenderSession
    _store: WriteOnceStore = field(init=False)

    def __post_init__(self) -> None:
        self._store = self.render_session.retrying_store(self.engine, self.store)

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one upscale job, store output.png and output.json, return both.

        Raises:
            PermanentError: the source image is gone, or the job cannot be rendered.
            TransientError: the server, S3 or PostgreSQL failed in passing.
        """
        payload = job.payload
        if not isinstance(payload, UpscaleJobPayload):
            raise PermanentError(f"job {job.id} is a {payload.kind} job, not an upscale job")
        source = source_image(self.engine, job)
        sampling = UpscaleSampling(
            upscale_model=payload.upscale_model,
            source_width_px=source.width_px,
            source_height_px=source.height_px,
        )
        template = load_template(
            self._store,
            job.tenant,
            payload.workflow or _DEFAULT_WORKFLOW,
            self.render_session.tenant_nodes,
        )
        image_name = self.render_session.server_pool[server].client.upload_image(
            self._store.read(source.file), file_name=f"{job.id}.png", subfolder=job.tenant
        )
        workflow = fill_upscale_workflow(
            template, sampling, image_name=image_name, filename_prefix=filename_prefix(job)
        )
        lora_names = None if template.is_shipped else frozenset[str]()
        rendered = render_workflow(
            self.render_session, server, job, workflow, lora_names=lora_names
        )
        content = single_image(rendered.result)
        width_px, height_px = png_size(content)
        key = output_key(JobKind.UPSCALE, job.tenant, job.id, job.lease_token, ".png")
        output = OutputManifest(
            tenant=job.tenant,
            job_id=job.id,
            kind=JobKind.UPSCALE,
            file=self._store.put_new(
                key, content, content_type="image/png", skip_exists_check=True
            ),
            width_px=width_px,
            height_px=height_px,
            sampling=sampling,
            source_image_key=source.object_key,
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


def find_not_larger(store: ObjectStore, manifest: DayManifest) -> list[str]:
    """Return the upscales that are not larger than their source, or of another aspect ratio.

    Each is a text with key and problem. The sizes are those that were recorded when it was made.
    """
    problems = store.map(lambda file: _size_problem(store, file), manifest.outputs)
    return [problem for problem in problems if problem is not None]


def _size_problem(store: ObjectStore, file: StoredFile) -> str | None:
    try:
        output = load_output(store, file)
    except PermanentError as error:
        return f"{file.object_key}: {error}"
    source = output.sampling
    if not isinstance(source, UpscaleSampling):
        return f"{file.object_key}: it was not made by an upscale job"
    width_px, height_px = source.source_width_px, source.source_height_px
    sizes = f"{output.width_px}×{output.height_px} of {width_px}×{height_px}"
    if output.width_px <= width_px or output.height_px <= height_px:
        return f"{file.object_key}: {sizes} is not larger"
    if abs(output.height_px - height_px * output.width_px / width_px) > 1:
        return f"{file.object_key}: {sizes} is another aspect ratio"
    return None
