"""Pack the frames of a video into one file: a ZIP of PNG files, unchanged and in order.

Nothing is compressed again: a PNG is compressed already, and what is read is what was written.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.images import upright_rgb


def pack_frames(frames: Sequence[Path], archive: Path) -> None:
    """Write frames into a new archive; their names do not matter, their order does."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for index, frame in enumerate(frames):
            file.write(frame, frame_name(index))


def unpack_frames(archive: Path, num_frames: int, path_of: Callable[[int], Path]) -> list[Path]:
    """Write the frames of an archive to the files that `path_of` names, one by one.

    Raises:
        PermanentError: it holds anything else than so many frames.
    """
    files = []
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            are_frames = all(
                (item.filename, item.compress_type) == (frame_name(index), zipfile.ZIP_STORED)
                for index, item in enumerate(entries)
            )
            if not are_frames or len(entries) != num_frames or not entries:
                raise PermanentError(f"{archive.name} does not hold {num_frames} frames")
            for index, item in enumerate(entries):
                files.append(path_of(index))
                with file.open(item) as source, files[-1].open("wb") as target:
                    shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise PermanentError(f"{archive.name} is not a complete ZIP file: {error}") from error
    return files


def frame_name(index: int) -> str:
    """Return the name of a frame by its number from 0; names sort in the order of the frames."""
    return f"{index:05}.png"


def pixels_sha256(png: bytes) -> str:
    """Return the hash of what is seen: ComfyUI writes the names of each render into a PNG."""
    with upright_rgb(png) as image:
        digest = hashlib.sha256(f"{image.size}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()
