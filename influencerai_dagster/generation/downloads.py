"""Save the images and videos of jobs as files; resume, and overwrite no other file."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.queue import MediaAsset
from influencerai_dagster.storage.object_store import ObjectStore


def file_name(asset: MediaAsset) -> str:
    """Return the name that a job's file is saved under: the job id, and the ending of its kind."""
    return f"{asset.job_id}{Path(asset.object_key).suffix}"


def download_files(
    store: ObjectStore,
    assets: Sequence[MediaAsset],
    folder: Path,
    on_file: Callable[[Path, bool], None],
) -> int:
    """Save files to a folder, which is created if it is missing; existing ones are skipped.

    Args:
        store: the bucket of assets.
        assets: what to save.
        folder: each file is `<job id>.png` or `.mp4` in it.
        on_file: called with every file and whether it was downloaded (False: it was there).

    Returns:
        How many files were downloaded.

    Raises:
        PermanentError: another file has the name of one; nothing was downloaded. Or an object is
            gone or damaged.
        TransientError: S3 did not answer; the saved files stay, and the same call resumes.
    """
    _make_folder(folder)
    wanted = [(asset, folder / file_name(asset)) for asset in assets]
    there = {path: _is_same(path, asset) for asset, path in wanted if path.exists()}
    strangers = [str(path) for path, is_same in there.items() if not is_same]
    if strangers:
        raise PermanentError(
            f"{strangers[0]} exists with other content and is not overwritten: move it away, or "
            f"save to another folder ({len(strangers)} such files; nothing was downloaded)"
        )

    def save(item: tuple[MediaAsset, Path]) -> tuple[Path, bool]:
        asset, path = item
        if path in there:
            return path, False
        store.download(asset.object_key, path, expected=asset.file)
        return path, True

    num_downloaded = 0
    for path, is_new in store.map(save, wanted):
        on_file(path, is_new)
        num_downloaded += is_new
    return num_downloaded


def download_zip(
    store: ObjectStore,
    assets: Sequence[MediaAsset],
    path: Path,
    on_file: Callable[[Path, bool], None],
) -> int:
    """Save files as one ZIP, which appears under its name only when it is complete.

    Returns:
        How many files are in it.

    Raises:
        PermanentError: a file of that name is there; or as in `download_files`.
        TransientError: S3 did not answer; there is no ZIP.
    """
    if path.exists():
        raise PermanentError(f"{path} exists and is not overwritten: name another file")
    _make_folder(path.parent)
    with TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
        whole = Path(folder) / "whole.zip"
        files = Path(folder) / "files"
        download_files(store, assets, files, on_file)
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:  # PNG and MP4 are packed
            for asset in assets:
                archive.write(files / file_name(asset), file_name(asset))
        try:
            os.link(whole, path)  # unlike a rename it never replaces a file that came meanwhile
        except FileExistsError:
            raise PermanentError(
                f"{path} exists and is not overwritten: name another file"
            ) from None
    return len(assets)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(
            f"folder {folder} cannot be created: {error.strerror}; name another one"
        ) from None


def _is_same(path: Path, asset: MediaAsset) -> bool:
    if not path.is_file() or path.stat().st_size != asset.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == asset.sha256
