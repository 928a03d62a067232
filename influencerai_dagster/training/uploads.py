"""Upload a folder of photos and sidecar captions to a dataset, for the CLI.

The pipeline itself never writes below `images/`; the CLI acts for the owner of the photos.
"""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import file_name_problem, upload_key, uploads_prefix
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.sidecars import is_caption_file, pair_captions

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def upload_folder(
    store: ObjectStore,
    key: DatasetKey,
    folder: Path,
    on_file: Callable[[Path, bool], None],
    *,
    skip: Collection[str] = (),
) -> int:
    """Upload the files of a folder, in parallel; those already there are left out.

    Run it again after it was interrupted: it goes on where it stopped. A file that changed since
    replaces its upload.

    Args:
        store: the bucket of assets.
        key: the dataset.
        folder: its files are uploaded, its folders are not.
        skip: names of files that are left out.
        on_file: called with every file and whether it was sent (False: it was there already).

    Returns:
        How many files were sent.

    Raises:
        PermanentError: the folder has no files or one whose name is not allowed; nothing was sent.
        TransientError: S3 did not answer; what was sent stays.
    """
    files = [path for path in files_to_upload(folder) if path.name not in skip]
    there = {info.key: info.etag for info in store.list(uploads_prefix(key))}

    def send(path: Path) -> bool:
        data = path.read_bytes()
        target = upload_key(key, path.name)
        if there.get(target) == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return False
        store.put_latest(target, data)
        return True

    sent = 0
    for path, was_sent in zip(files, store.map(send, files), strict=True):
        on_file(path, was_sent)
        sent += was_sent
    return sent


def unpaired_captions(store: ObjectStore, key: DatasetKey, folder: Path) -> dict[str, str]:
    """Return the caption files of a folder that would belong to no image, with the reason.

    Images that were uploaded before count. If every image of the folder has a caption, nothing is
    lost by the others, and none is returned: the dataset's check would pass as well.

    Raises:
        PermanentError: as `files_to_upload`.
    """
    prefix = uploads_prefix(key)
    ours = {path.name for path in files_to_upload(folder)}
    names = ours | {info.key.removeprefix(prefix) for info in store.list(prefix)}
    captions = {name for name in names if is_caption_file(name)}
    pairing = pair_captions(names - captions, captions)
    images = {name for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    if images <= set(pairing.caption_of):
        return {}
    return {name: why for name, why in pairing.unpaired.items() if name in ours}


def files_to_upload(folder: Path) -> list[Path]:
    """Return the files of a folder that would be uploaded, by name; hidden ones are left out.

    Raises:
        PermanentError: it is not a folder, has no files, or one with a name that is not allowed.
    """
    if not folder.is_dir():
        raise PermanentError(f"{folder} is not a folder: name the folder that holds the photos")
    # Hidden files are the file manager's, not the user's: .DS_Store and its like.
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    files.sort()
    problems = [
        f"{path.name[:80]!r}: {problem}"
        for path in files
        if (problem := file_name_problem(path.name)) is not None
    ]
    if problems:
        listed = "\n  ".join(problems[:20])
        raise PermanentError(f"{len(problems)} files of {folder} cannot be uploaded:\n  {listed}")
    if not files:
        raise PermanentError(f"{folder} has no files: nothing to upload")
    return files
