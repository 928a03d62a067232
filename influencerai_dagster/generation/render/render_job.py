"""Render the workflow of one job on one server, and store its output.json.

The modules of the kinds (images.py, videos.py) fill the workflow; lora_files.py installs LoRAs.
"""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine

from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.object_paths import output_key, output_manifest_key, workflow_key
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.api_format import MAX_TEMPLATE_BYTES
from influencerai_dagster.engines.comfyui.choices import did_you_mean
from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.server import Server
from influencerai_dagster.engines.comfyui.templates import (
    WorkflowTemplate,
    parse_template,
    shipped_template,
    shipped_template_names,
)
from influencerai_dagster.engines.comfyui.values import (
    QueueState,
    RenderRequest,
    RenderResult,
    RunStatus,
    SystemStats,
)
from influencerai_dagster.errors import InfluencerAIError, ObjectNotFoundError, PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue import ClaimedJob, MediaAsset
from influencerai_dagster.generation.render.lora_files import refuse_foreign_loras
from influencerai_dagster.generation.render.session import OtherServerError, RenderSession
from influencerai_dagster.media.pngs import is_one_colour
from influencerai_dagster.storage.manifests import load_unverified
from influencerai_dagster.storage.object_store import ObjectStore, WriteOnceStore

_log = logging.getLogger(__name__)

_MAX_EARLIER_CLAIMS = 5
"""So many are looked for: ComfyUI's history no longer has the renders of older ones."""


ONE_COLOUR = (
    "one colour only, though ComfyUI reported success: its numbers became NaN. Likely causes: a "
    "LoRA with NaN in it or with a strength far too high (render without LoRAs to see); a VAE that "
    "overflows in 16 bit (start ComfyUI with --fp32-vae, or use a VAE that was fixed for fp16); a "
    "cfg far too high."
)


@dataclass(frozen=True)
class Rendered:
    """A finished render and the server that made it; `url` has no credentials."""

    result: RenderResult
    server: SystemStats
    url: str


def render_workflow(
    render_session: RenderSession,
    server: str,
    job: ClaimedJob,
    workflow: dict[str, Any],
    *,
    lora_names: frozenset[str] | None = frozenset(),
    segment: int = 0,
) -> Rendered:
    """Render a job's workflow on a server, or use the render of an earlier claim of the job.

    Args:
        server: its URL without credentials.
        lora_names: the LoRA files that the job may use; None if the workflow is a shipped one,
            which names no others.
        segment: which part of a long video it is, 0 for the first and for every other job.

    Raises:
        OtherServerError: this server cannot run the workflow, but another one can, or may.
        PermanentError: no server can run it, it names a LoRA file that is not the job's, or a node
            failed for good.
        TransientError: the server failed in passing or the render took too long.
    """
    request = RenderRequest(
        workflow,
        prompt_id(job.id, job.lease_token, segment),
        timeout_seconds=job.payload.timeout_seconds or render_session.timeout_seconds,
    )
    newest = job.lease_token - 1
    for claim in range(newest, max(0, newest - _MAX_EARLIER_CLAIMS), -1):
        earlier_id = prompt_id(job.id, claim, segment)
        earlier = _take_earlier(render_session, job, replace(request, prompt_id=earlier_id))
        if earlier is not None:
            return earlier
    render_session.check_wanted(job.id)
    target = render_session.server_pool[server]
    try:
        target.check(workflow)
        if lora_names is not None:
            on_server = target.client.models("loras")
            refuse_foreign_loras(workflow, on_server=on_server, own=lora_names)
        is_front = job.is_front and segment == 0
        new = replace(request, is_new=True, is_front=is_front)
        return _run(render_session, target, job, new)
    except UnfitServerError as error:
        raise _elsewhere(render_session, job, target, workflow, error) from error


def _elsewhere(
    render_session: RenderSession,
    job: ClaimedJob,
    target: Server,
    workflow: dict[str, Any],
    error: UnfitServerError,
) -> InfluencerAIError:
    """Return the error of a job that its server cannot run, by what the other servers can."""
    refused = [target.url]
    reason: str | None = None
    for other in render_session.server_pool:
        if other is target:
            continue
        if job.need in render_session.unfit_needs().get(other.url, ()):
            refused.append(other.url)
            continue
        try:
            other.check(workflow)
        except UnfitServerError:
            refused.append(other.url)
            continue
        except InfluencerAIError as problem:
            reason = reason or f"{other.url} may be able to, but: {problem}"
            continue
        reason = f"It goes to {other.url}, which has what it needs."
        break
    if reason is not None:
        for url in refused:
            render_session.note_unfit(url, job.need)
        return OtherServerError(f"{str(error).rstrip('.')}. {reason}")
    # It is the job's own fault: others of the same need may be fine.
    if len(refused) == 1:
        return PermanentError(str(error))
    return PermanentError(f"none of {', '.join(refused)} can render this: {error}")


def _run(
    render_session: RenderSession, server: Server, job: ClaimedJob, request: RenderRequest
) -> Rendered:
    render = render_session.begin(job.id, server.url, request.prompt_id)
    result = server.run(replace(request, on_progress=render.note))
    render.progress, render.ended = 1.0, time.monotonic()
    return Rendered(result, server.stats, server.url)


def _take_earlier(
    render_session: RenderSession, job: ClaimedJob, request: RenderRequest
) -> Rendered | None:
    """Return the render of a dead worker's prompt on any server; waits while it still runs."""
    try:
        found = render_session.server_pool.find(request.prompt_id)
        if found is not None:
            server, state = found
            if isinstance(state, QueueState) or state.status is RunStatus.SUCCESS:
                return _run(render_session, server, job, request)
    except InfluencerAIError as error:
        _log.warning(
            "job %s is rendered again instead of using %s: %s", job.id, request.prompt_id, error
        )
    return None


def filename_prefix(job: ClaimedJob, segment: int = 0) -> str:
    """Return a prefix that no other prompt has, in a folder of the tenant's day.

    ComfyUI answers an identical prompt from its cache with the old file, and lists the folder for
    every save (docs/protocols/comfyui.md, points 13 and 14).
    """
    name = f"{job.id}-{job.lease_token}" + (f"-{segment}" if segment else "")
    return f"{job.tenant}/{job.day.isoformat()}/{name}"


def load_template(
    store: WriteOnceStore, tenant: str, name: str, extra_nodes: Collection[str] = ()
) -> WorkflowTemplate:
    """Return a shipped template, or the tenant's own of that name.

    Args:
        store: where tenants' own are.
        tenant: whose.
        name: of the template.
        extra_nodes: COMFYUI_TENANT_NODES.

    Raises:
        PermanentError: there is neither, or the tenant's own cannot be used.
    """
    if name in shipped_template_names():
        return shipped_template(name)
    key = workflow_key(tenant, name)
    try:
        found = store.head(key)
        if found is not None and found.size_bytes > MAX_TEMPLATE_BYTES:
            raise PermanentError(
                f"workflow {name!r} at {key} has {found.size_bytes} bytes; at most "
                f"{MAX_TEMPLATE_BYTES} are read. Export it in ComfyUI's API format."
            )
        return parse_template(name, store.get(key), extra_nodes)
    except ObjectNotFoundError as error:
        raise PermanentError(
            f"workflow {name!r} is neither shipped ({', '.join(shipped_template_names())}) nor "
            f"at {key}{did_you_mean(name, shipped_template_names())}. Upload it there in ComfyUI's "
            "API format."
        ) from error


def source_image(engine: Engine, job: ClaimedJob) -> MediaAsset:
    """Return the image that a job starts from.

    Raises:
        PermanentError: it is not among the outputs of the job's tenant.
    """
    source_id = job.payload.depends_on
    with transaction(engine) as session:
        asset = source_id and job_queue.media_asset_of_job(session, job.tenant, source_id)
    if not asset:
        raise PermanentError(
            f"the image of job {source_id}, which this {job.kind} starts from, is not among the "
            f"outputs of tenant {job.tenant}"
        )
    return asset


def single_image(result: RenderResult) -> bytes:
    """Return the one PNG that a render gave.

    Raises:
        PermanentError: it gave none or several, the text names what it gave; or the image is of
            one colour.
    """
    files = [item for item in result.files if item.file_name.lower().endswith(".png")]
    if len(files) != 1:
        found = ", ".join(item.file_name for item in result.files) or "nothing"
        raise PermanentError(f"the workflow should give one .png file, but gave {found}")
    refuse_one_colour([files[0].content])
    return files[0].content


def refuse_one_colour(images: Sequence[bytes]) -> None:
    """Refuse images of one colour: ComfyUI reports NaN in every pixel as a success.

    Raises:
        PermanentError: in every image all pixels are the same.
    """
    if images and all(is_one_colour(image) for image in images):
        what = "the image has" if len(images) == 1 else f"all {len(images)} frames have"
        raise PermanentError(f"{what} {ONE_COLOUR}")


def store_output(store: WriteOnceStore, output: OutputManifest, job: ClaimedJob) -> StoredFile:
    """Publish output.json beside the file that it describes."""
    key = output_key(output.kind, job.tenant, job.id, job.lease_token, ".json")
    text = output.model_dump_json(indent=2)
    return store.put_new(
        key, text.encode(), content_type="application/json", skip_exists_check=True
    )


def load_output(store: ObjectStore, file: StoredFile) -> OutputManifest:
    """Return the output.json beside an output.

    Raises:
        PermanentError: it is not there, cannot be read, or describes another file.
    """
    key = output_manifest_key(file.object_key)
    output = load_unverified(store, key, OutputManifest).manifest
    if output.file != file:
        raise PermanentError("its output.json describes another file")
    return output
