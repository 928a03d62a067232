"""What every job that ComfyUI renders needs: its LoRA file, its template, its render, its record.

What is rendered lives in stages/images.py, stages/videos.py and stages/lora_samples.py.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from influencerai_dagster.catalog.ledger import ClaimedJob
from influencerai_dagster.domain.jobs import prompt_id
from influencerai_dagster.domain.manifests.loras import LoraManifest
from influencerai_dagster.domain.manifests.outputs import OutputManifest, StoredFile
from influencerai_dagster.domain.object_paths import lora_key, output_key, workflow_key
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.object_info import ObjectInfo
from influencerai_dagster.engines.comfyui.runs import RenderResult, run_workflow
from influencerai_dagster.engines.comfyui.templates import (
    WorkflowTemplate,
    parse_template,
    shipped_template,
    shipped_template_names,
)
from influencerai_dagster.engines.comfyui.validation import validate_workflow
from influencerai_dagster.engines.comfyui.values import QueueState, RunStatus, SystemStats
from influencerai_dagster.engines.comfyui.waiting import locate
from influencerai_dagster.errors import InfluencerAIError, ObjectNotFoundError, PermanentError
from influencerai_dagster.media.safetensors_files import (
    check_lora_fits,
    file_sha256,
    read_header,
)
from influencerai_dagster.storage.object_store import ObjectStore


@dataclass(frozen=True)
class RenderFarm:
    """The ComfyUI servers and the folder they load LoRAs from.

    Attributes:
        lora_dir: ComfyUI's models/loras folder, shared with this process.
        timeout_seconds: how long one render may take, without the time in a server's queue.
    """

    servers: tuple[str, ...]
    lora_dir: Path | None
    timeout_seconds: float


@dataclass(frozen=True)
class Rendered:
    """A finished render and the server that made it; `url` has no credentials."""

    result: RenderResult
    server: SystemStats
    url: str


def render_workflow(
    farm: RenderFarm,
    server: str,
    job: ClaimedJob,
    workflow: dict[str, Any],
    *,
    lora_names: frozenset[str] = frozenset(),
    segment: int = 0,
) -> Rendered:
    """Render a job's workflow on a server, or take what an earlier claim of the job rendered.

    Args:
        lora_names: the LoRA files that the job may use.
        segment: which part of a long clip it is, 0 for the first and for every other job.

    Raises:
        PermanentError: the workflow does not validate, names a LoRA file that is not the job's, or
            a node failed for good.
        TransientError: the server failed in passing or the render took too long.
    """
    for claim in range(1, job.lease_token):
        earlier = _take_earlier(farm, prompt_id(job.id, claim, segment), workflow)
        if earlier is not None:
            return earlier
    with ComfyUIClient(server) as client:
        object_info = client.object_info()
        validate_workflow(workflow, object_info)
        refuse_foreign_loras(workflow, object_info, lora_names)
        queue = client.queue()
        num_ahead = len(queue.running) + len(queue.pending)
        result = run_workflow(
            client,
            workflow,
            prompt_id=prompt_id(job.id, job.lease_token, segment),
            # The limit is for one render; those ahead in the queue have theirs.
            timeout_seconds=farm.timeout_seconds * (num_ahead + 1),
        )
        return Rendered(result, client.system_stats(), client.url)


def refuse_foreign_loras(
    workflow: dict[str, Any], object_info: ObjectInfo, lora_names: frozenset[str]
) -> None:
    """Refuse a workflow that names a LoRA file of the server which is not the job's.

    All tenants' LoRA files are in one folder. A tenant's own template may have nodes that nobody
    here knows, so it is the value that is looked at and not the node.

    Raises:
        PermanentError: names the node.
    """
    on_server = set(object_info.choices("LoraLoader", "lora_name"))
    for node_id, node in workflow.items():
        for name, value in node.get("inputs", {}).items():
            if isinstance(value, str) and value in on_server - lora_names:
                raise PermanentError(
                    f"node {node_id} ({node.get('class_type')}) names a LoRA file in {name}: a "
                    "template names none, the job's `loras` are put in where they belong"
                )


def _take_earlier(farm: RenderFarm, earlier_id: str, workflow: dict[str, Any]) -> Rendered | None:
    """Return what a dead worker's prompt made on any server, waiting for it if it still runs."""
    for server in farm.servers:
        with suppress(InfluencerAIError), ComfyUIClient(server) as client:
            found = locate(client, earlier_id)
            is_usable = isinstance(found, QueueState) or (
                found is not None and found.status is RunStatus.SUCCESS
            )
            if is_usable:
                result = run_workflow(
                    client, workflow, prompt_id=earlier_id, timeout_seconds=farm.timeout_seconds
                )
                return Rendered(result, client.system_stats(), client.url)
    return None


def interrupt_render(job: ClaimedJob, server: str, segment: int = 0) -> None:
    """Take a job's prompt out of a server's queue, or stop it if it runs; no other is touched."""
    with ComfyUIClient(server) as client:
        client.cancel(prompt_id(job.id, job.lease_token, segment))


def filename_prefix(job: ClaimedJob, segment: int = 0) -> str:
    """Return a prefix that no other prompt has, in a folder of the tenant's day.

    ComfyUI answers an identical prompt from its cache with the old file, and lists the folder for
    every save (PROTOCOL.md, points 13 and 14).
    """
    name = f"{job.id}-{job.lease_token}" + (f"-{segment}" if segment else "")
    return f"{job.tenant}/{job.day.isoformat()}/{name}"


def load_template(store: ObjectStore, tenant: str, name: str) -> WorkflowTemplate:
    """Return a shipped template, or the tenant's own of that name.

    Raises:
        PermanentError: there is neither, or the tenant's own cannot be used.
    """
    if name in shipped_template_names():
        return shipped_template(name)
    key = workflow_key(tenant, name)
    try:
        return parse_template(name, store.get(key))
    except ObjectNotFoundError as error:
        raise PermanentError(
            f"workflow {name!r} is neither shipped ({', '.join(shipped_template_names())}) nor "
            f"at {key}. Upload it there in ComfyUI's API format."
        ) from error


def single_file(result: RenderResult, suffix: str) -> bytes:
    """Return the one file with this suffix; PermanentError names what the render gave."""
    files = [item for item in result.files if item.file_name.lower().endswith(suffix)]
    if len(files) != 1:
        found = ", ".join(item.file_name for item in result.files) or "nothing"
        raise PermanentError(f"the workflow should give one {suffix} file, but gave {found}")
    return files[0].content


def store_output(store: ObjectStore, output: OutputManifest, job: ClaimedJob) -> StoredFile:
    """Publish output.json beside the file that it describes."""
    key = output_key(f"{output.kind}s", job.tenant, job.id, job.lease_token, ".json")
    text = output.model_dump_json(indent=2)
    return store.put_new(key, text.encode(), content_type="application/json")


def place_lora(store: ObjectStore, lora: LoraManifest, lora_dir: Path | None) -> str:
    """Bring a LoRA into ComfyUI's folder, checked by hash and family; return its lora_name.

    Raises:
        PermanentError: COMFYUI_LORA_DIR is not set, or the file on S3 is not what was trained.
    """
    if lora_dir is None:
        raise PermanentError(
            "COMFYUI_LORA_DIR is not set: set it to ComfyUI's models/loras folder as this process "
            "sees it, so that LoRA files can be placed there."
        )
    name = lora_key(lora.tenant, lora.lora_id).removeprefix("loras/")
    path = lora_dir / name
    weights = StoredFile(
        object_key=lora.weights_key, sha256=lora.weights_sha256, size_bytes=lora.weights_size_bytes
    )
    if not path.is_file() or file_sha256(path) != lora.weights_sha256:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(lora.weights_key, path, expected=weights)
    check_lora_fits(read_header(path), lora.base_model_family)
    return name
