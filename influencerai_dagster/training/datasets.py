"""Stage `dataset`: validate uploads and publish the dataset that they make.

Uploads are only read, never changed or deleted. However many uploads a dataset has and however many
datasets are scanned on one machine, the memory for their bytes and their pixels is limited. Rules
are in core/dataset_rules.py, the measuring in media/images.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import ValidationError
from sqlalchemy import Engine

from influencerai_dagster.core.dataset_rules import DatasetRules, RejectReason
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.dataset import (
    DatasetImage,
    DatasetManifest,
    RejectedUpload,
    Rights,
)
from influencerai_dagster.core.object_paths import (
    file_name_problem,
    latest_dataset_manifest_key,
    rights_key,
    uploads_prefix,
)
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.images import MeasuredImage, Reject, measure_upload, near_duplicates
from influencerai_dagster.storage.contents import ObjectSummary
from influencerai_dagster.storage.manifests import Published, publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_images import READING
from influencerai_dagster.training.sidecars import is_about_all, is_caption_file, pair_captions

MAX_SIDECAR_SIZE_BYTES = 64 * 1024
MAX_RIGHTS_SIZE_BYTES = 64 * 1024
_RIGHTS_FILE = "rights.json"


@dataclass(frozen=True)
class _Upload:
    """One listed upload and the caption file that belongs to it."""

    file_name: str
    info: ObjectSummary
    sidecar: ObjectSummary | None


def build_dataset(
    engine: Engine,
    store: ObjectStore,
    key: DatasetKey,
    rules: DatasetRules,
    on_progress: Callable[[int, int], None],
) -> Published[DatasetManifest]:
    """Scan the uploads of a dataset, publish the result and record it as the newest version.

    Raises:
        PermanentError: unknown tenant, nothing was uploaded, or access to S3 is denied.
        TransientError: S3 or PostgreSQL did not answer; run again.
    """
    with transaction(engine) as session:
        require_tenant(session, key.tenant)
    return publish_dataset(engine, store, scan_dataset(store, key, rules, on_progress))


def scan_dataset(
    store: ObjectStore,
    key: DatasetKey,
    rules: DatasetRules,
    on_progress: Callable[[int, int], None],
) -> DatasetManifest:
    """Validate, hash and measure every upload of a dataset, in parallel.

    Args:
        store: where the uploads are.
        key: the dataset.
        rules: limits of uploads.
        on_progress: called with (uploads done, uploads in all).

    Returns:
        The manifest, not yet published; images and rejects are in order of file name.

    Raises:
        PermanentError: nothing was uploaded, or access to S3 is denied.
        TransientError: S3 did not answer; run again.
    """
    listed = list(store.list(uploads_prefix(key)))
    if not listed:
        raise PermanentError(
            f"dataset {key} is empty: found no object below {uploads_prefix(key)}. "
            f"Upload photos with `influencerai dataset upload`."
        )
    uploads, rejected = _sort_out(listed, uploads_prefix(key), rules)
    measured: list[tuple[_Upload, MeasuredImage]] = []
    results = store.map(lambda upload: _measure(store, upload, rules), uploads)
    for done, (upload, result) in enumerate(zip(uploads, results, strict=True), start=1):
        if isinstance(result, Reject):
            rejected.append(_reject(upload.file_name, result.reason, result.detail))
        else:
            measured.append((upload, result))
        on_progress(done, len(uploads))
    accepted, duplicates = _without_duplicates(measured, rules)
    rights, rights_problem = _read_rights(store, key, listed)
    rejected += duplicates + rights_problem
    rejected += _unused_captions([upload for upload, _ in accepted], uploads)
    return DatasetManifest.build(
        key,
        images=tuple(store.map(lambda item: _dataset_image(store, *item), accepted)),
        rejected=tuple(sorted(rejected, key=lambda item: item.file_name)),
        rights=rights,
    )


def publish_dataset(
    engine: Engine, store: ObjectStore, manifest: DatasetManifest
) -> Published[DatasetManifest]:
    """Publish a version of a dataset, then make it the newest: manifest.json, then the row.

    Call it again after an error: each step overwrites what an earlier call left.
    """
    published = publish(store, manifest)
    store.put_latest(
        latest_dataset_manifest_key(manifest.key), manifest.model_dump_json(indent=2).encode()
    )
    with transaction(engine) as session:
        record_dataset(session, manifest)
    return published


def _reject(file_name: str, reason: RejectReason, detail: str) -> RejectedUpload:
    return RejectedUpload(file_name=file_name, reason=reason, detail=detail)


def _sort_out(
    listed: list[ObjectSummary], prefix: str, rules: DatasetRules
) -> tuple[list[_Upload], list[RejectedUpload]]:
    """Separate images from captions, and reject by name, size and number without reading a byte."""
    by_name: dict[str, ObjectSummary] = {}
    uploads: list[_Upload] = []
    rejected: list[RejectedUpload] = []
    for info in sorted(listed, key=lambda item: item.key):
        name = info.key.removeprefix(prefix)
        problem = file_name_problem(name)
        if problem is None:
            by_name[name] = info
        elif name:
            rejected.append(_reject(name, RejectReason.NAME_NOT_ALLOWED, problem))
    captions = [name for name in by_name if is_caption_file(name)]
    images = [
        name for name in by_name if name.lower() != _RIGHTS_FILE and not is_caption_file(name)
    ]
    pairing = pair_captions(images, captions)
    rejected += [
        _reject(name, RejectReason.CAPTION_UNPAIRED, why) for name, why in pairing.unpaired.items()
    ]
    for name in images:
        info = by_name[name]
        if is_about_all(name):
            rejected.append(_reject(name, RejectReason.NOT_AN_IMAGE, "is a text about the folder"))
        elif info.size_bytes > rules.max_upload_size_bytes:
            detail = f"{info.size_bytes} bytes; MAX_UPLOAD_SIZE is {rules.max_upload_size_bytes}"
            rejected.append(_reject(name, RejectReason.TOO_LARGE, detail))
        elif len(uploads) >= rules.max_images:
            detail = f"MAX_DATASET_IMAGES is {rules.max_images}"
            rejected.append(_reject(name, RejectReason.TOO_MANY_IMAGES, detail))
        else:
            caption = pairing.caption_of.get(name)
            uploads.append(_Upload(name, info, by_name[caption] if caption else None))
    return uploads, rejected


def _unused_captions(accepted: list[_Upload], uploads: list[_Upload]) -> list[RejectedUpload]:
    """Name the captions of uploads that were rejected, unless an accepted one shares them."""
    used = {upload.sidecar.key for upload in accepted if upload.sidecar is not None}
    unused = {
        upload.sidecar.key: upload.file_name
        for upload in uploads
        if upload.sidecar is not None and upload.sidecar.key not in used
    }
    return [
        _reject(PurePosixPath(key).name, RejectReason.CAPTION_NOT_USED, f"it is of {image}")
        for key, image in unused.items()
    ]


def _measure(store: ObjectStore, upload: _Upload, rules: DatasetRules) -> MeasuredImage | Reject:
    with READING.hold(upload.info.size_bytes):
        return measure_upload(store.get(upload.info), rules)


def _without_duplicates(
    measured: list[tuple[_Upload, MeasuredImage]], rules: DatasetRules
) -> tuple[list[tuple[_Upload, MeasuredImage]], list[RejectedUpload]]:
    first_by_sha256: dict[str, str] = {}
    unique: list[tuple[_Upload, MeasuredImage]] = []
    rejected: list[RejectedUpload] = []
    for upload, image in measured:
        first = first_by_sha256.setdefault(image.sha256, upload.file_name)
        if first == upload.file_name:
            unique.append((upload, image))
        else:
            detail = f"the same bytes as {first}"
            rejected.append(_reject(upload.file_name, RejectReason.EXACT_DUPLICATE, detail))
    hashes = [image.perceptual_hash for _, image in unique]
    repeats = near_duplicates(hashes, rules.near_duplicate_bits)
    for index, earlier in repeats.items():
        detail = f"looks like {unique[earlier][0].file_name}"
        rejected.append(_reject(unique[index][0].file_name, RejectReason.NEAR_DUPLICATE, detail))
    return [item for index, item in enumerate(unique) if index not in repeats], rejected


def _dataset_image(store: ObjectStore, upload: _Upload, image: MeasuredImage) -> DatasetImage:
    sidecar = upload.sidecar
    if sidecar is not None and sidecar.size_bytes > MAX_SIDECAR_SIZE_BYTES:
        raise PermanentError(
            f"caption {sidecar.key} has {sidecar.size_bytes} bytes; a caption is one line of at "
            f"most {MAX_SIDECAR_SIZE_BYTES} bytes. Replace it."
        )
    return DatasetImage(
        file_name=upload.file_name,
        object_key=upload.info.key,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        format=image.format,
        width_px=image.width_px,
        height_px=image.height_px,
        perceptual_hash=image.perceptual_hash,
        caption_object_key=sidecar.key if sidecar else None,
        caption_sha256=sha256_hex(store.get(sidecar)) if sidecar else None,
    )


def _read_rights(
    store: ObjectStore, key: DatasetKey, listed: list[ObjectSummary]
) -> tuple[Rights | None, list[RejectedUpload]]:
    # The usual name first, then one that differs in case, as Windows and Macs write it.
    found = sorted(
        (info for info in listed if info.key.lower() == rights_key(key).lower()),
        key=lambda info: (info.key != rights_key(key), info.key),
    )
    if not found:
        return None, []
    if found[0].size_bytes > MAX_RIGHTS_SIZE_BYTES:
        detail = f"{found[0].size_bytes} bytes; at most {MAX_RIGHTS_SIZE_BYTES} are read"
        return None, [_reject(_RIGHTS_FILE, RejectReason.RIGHTS_INVALID, detail)]
    try:
        return Rights.model_validate_json(store.get(found[0])), []
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        detail = f"{field}: {first['msg']}"
        return None, [_reject(_RIGHTS_FILE, RejectReason.RIGHTS_INVALID, detail)]
