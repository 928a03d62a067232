"""Build and parse the object keys of the bucket `assets`; no other module does.

Every key of a tenant starts with `<stage>/<tenant>/`; parts come from `core/keys.py` or are
checked by its rule, so no name that a user chose can leave the tenant's prefix. File names of
uploads are the user's own and only ever read.
"""

import re
from urllib.parse import quote
from uuid import UUID

from influencerai_dagster.core.job_states import OUTPUT_FOLDERS, JobKind
from influencerai_dagster.core.keys import DatasetKey, DayKey, check_part
from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.errors import PermanentError

DATASETS_PREFIX = "datasets/"
TENANT_STAGES = ("datasets", "loras", *OUTPUT_FOLDERS, "workflows")
"""What the keys of tenants' objects begin with."""
ACCESS_CHECKS_PREFIX = "doctor/"
FILES_PATH = "/files/"
"""Where the operators' web server opens an object by its key."""
MAX_FILE_NAME_LENGTH = 200
_VERSION = re.compile(r"[0-9a-f]{16,64}", re.ASCII)


def tenant_datasets_prefix(tenant: str) -> str:
    """Return the prefix below which all datasets of a tenant are."""
    return f"{DATASETS_PREFIX}{check_part(tenant, 'tenant')}/"


def tenant_prefixes(tenant: str) -> tuple[str, ...]:
    """Return all prefixes that a tenant's objects are below."""
    name = check_part(tenant, "tenant")
    return tuple(f"{stage}/{name}/" for stage in TENANT_STAGES)


def dataset_prefix(key: DatasetKey) -> str:
    """Return the prefix of one dataset."""
    return f"{DATASETS_PREFIX}{key.tenant}/{key.dataset}/"


def uploads_prefix(key: DatasetKey) -> str:
    """Return the prefix that a dataset's photos and sidecar captions are uploaded to."""
    return f"{dataset_prefix(key)}images/"


def upload_key(key: DatasetKey, file_name: str) -> str:
    """Return the object key of one uploaded file.

    Raises:
        PermanentError: the name is empty, too long, hidden, or has a path separator or a character
            that does harm (core/plain_text.py).
    """
    return uploads_prefix(key) + check_file_name(file_name)


def check_file_name(file_name: str) -> str:
    """Return `file_name` if an upload may have it; PermanentError says why not."""
    problem = file_name_problem(file_name)
    if problem is not None:
        raise PermanentError(f"file name {file_name[:80]!r} is not allowed: {problem}")
    return file_name


def file_name_problem(file_name: str) -> str | None:
    """Say why an upload may not have this name, or None if it may."""
    if not file_name or file_name.startswith("."):
        return "it is empty or hidden"
    if "/" in file_name or "\\" in file_name:
        return "it has a path separator"
    problem = text_problem(file_name)
    if problem is not None:
        return problem
    if len(file_name.encode()) > MAX_FILE_NAME_LENGTH:
        return f"it is longer than {MAX_FILE_NAME_LENGTH} bytes"
    return None


def rights_key(key: DatasetKey) -> str:
    """Return the object key of a dataset's rights.json."""
    return f"{uploads_prefix(key)}rights.json"


def dataset_manifest_key(key: DatasetKey, version: str) -> str:
    """Return the key of one immutable version of a dataset's manifest."""
    return f"{dataset_prefix(key)}manifests/{_version(version)}.json"


def latest_dataset_manifest_key(key: DatasetKey) -> str:
    """Return the key of the newest manifest; overwritten with every version."""
    return f"{dataset_prefix(key)}manifest.json"


def captions_manifest_key(key: DatasetKey, version: str) -> str:
    """Return the key of one immutable version of a dataset's captions."""
    return f"{dataset_prefix(key)}captions/{_version(version)}.json"


def dataset_key_of(object_key: str) -> DatasetKey | None:
    """Return the dataset of an uploaded object, or None if it is not a valid upload."""
    match object_key.split("/"):
        case ["datasets", tenant, dataset, "images", file_name] if file_name:
            pass
        case _:
            return None
    try:
        return DatasetKey(tenant, dataset)
    except PermanentError:
        return None


def lora_key(tenant: str, lora_id: str) -> str:
    """Return the key of a LoRA's weights."""
    return f"loras/{check_part(tenant, 'tenant')}/{check_part(lora_id, 'LoRA')}.safetensors"


def lora_manifest_key(tenant: str, lora_id: str) -> str:
    """Return the key of the manifest beside a LoRA's weights."""
    return f"loras/{check_part(tenant, 'tenant')}/{check_part(lora_id, 'LoRA')}.json"


def lora_samples_key(tenant: str, lora_id: str, file_name: str) -> str:
    """Return the key of a file among the sample images of a LoRA."""
    folder = f"samples-{check_part(lora_id, 'LoRA')}"
    return f"images/{check_part(tenant, 'tenant')}/{folder}/{check_file_name(file_name)}"


def output_key(kind: JobKind, tenant: str, job_id: UUID, claim: int, suffix: str) -> str:
    """Return the key of a file in the folder of a job, `images/<tenant>/<jobId>/output.png`.

    Args:
        kind: of the job.
        claim: how often the job was claimed. The first claim writes `output.png`; a later one,
            after a worker died half-way, `output-2.png`: no object is ever overwritten.
        suffix: with its dot, ".png".
    """
    name = "output" if claim == 1 else f"output-{claim}"
    folder = f"{kind.plural}/{check_part(tenant, 'tenant')}"
    return f"{folder}/{job_id}/{check_file_name(name + suffix)}"


def output_manifest_key(object_key: str) -> str:
    """Return the key of the output.json beside an image or video, whose key `output_key` made."""
    stem, dot, suffix = object_key.rpartition(".")
    if not dot or "/" in suffix:
        raise PermanentError(f"{object_key[:200]!r} is not the key of an output")
    return f"{stem}.json"


def segments_prefix(tenant: str, job_id: UUID) -> str:
    """Return the prefix of the segments of a long video, in the folder of its job."""
    return f"videos/{check_part(tenant, 'tenant')}/{job_id}/segment-"


def segment_key(tenant: str, job_id: UUID, segment: int, claim: int, suffix: str) -> str:
    """Return the key of one segment, `videos/<tenant>/<jobId>/segment-0000.zip`.

    Args:
        segment: 0 is the first.
        claim: as for `output_key`: a later claim writes `segment-0000-2.zip`.
        suffix: ".zip" for its frames, ".json" for what is known of them.
    """
    name = f"{segment:04}" if claim == 1 else f"{segment:04}-{claim}"
    return f"{segments_prefix(tenant, job_id)}{name}{check_file_name('x' + suffix)[1:]}"


def workflow_key(tenant: str, name: str) -> str:
    """Return the key of a tenant's own ComfyUI workflow template."""
    return f"workflows/{check_part(tenant, 'tenant')}/{check_part(name, 'workflow')}.json"


def day_manifest_key(folder: str, key: DayKey, version: str) -> str:
    """Return the key of one version of a day's list of outputs; folder is one of OUTPUT_FOLDERS."""
    prefix = f"{check_part(folder, 'folder')}/{key.tenant}/days/{key.day.isoformat()}"
    return f"{prefix}/{_version(version)}.json"


def day_of_list(object_key: str) -> DayKey | None:
    """Return the day of a key that `day_manifest_key` made; None for every other key."""
    match object_key.split("/"):
        case [folder, tenant, "days", day, name] if folder in OUTPUT_FOLDERS and name.endswith(
            ".json"
        ):
            pass
        case _:
            return None
    if _VERSION.fullmatch(name.removesuffix(".json")) is None:
        return None
    try:
        return DayKey.parse(f"{tenant}/{day}")
    except PermanentError:
        return None


def access_check_key(token: UUID) -> str:
    """Return the key of a scratch object of `influencerai doctor`; below no tenant's prefix."""
    return f"{ACCESS_CHECKS_PREFIX}{token}"


def _version(version: str) -> str:
    if _VERSION.fullmatch(version) is None:
        raise PermanentError(f"version {version[:80]!r} is not a hash of 16 to 64 hex digits")
    return version


def file_link(object_key: str) -> str:
    """Return the link on the operators' web server that opens an object; it does not expire."""
    return FILES_PATH + quote(object_key)
