"""Lay still frames out as ffmpeg reads them: numbered files of one format in one folder."""

from collections.abc import Iterable
from pathlib import Path

from influencerai_dagster.errors import InsufficientStorageError, PermanentError

_SUFFIX_BY_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


def number_frames(frames: Iterable[Path | bytes], folder: Path) -> tuple[int, str]:
    """Lay the frames out as 000000.png, 000001.png …; return their number and ending.

    Args:
        frames: PNG, JPEG or WEBP, all of one format; files are linked, bytes written.
        folder: an empty one.

    Raises:
        InsufficientStorageError: the disk is full.
        PermanentError: no frames, mixed formats, or something else than an image.
    """
    suffix = None
    num_frames = 0
    for frame in frames:
        name = frame.name if isinstance(frame, Path) else f"frame {num_frames}"
        found = _suffix(frame, name)
        if suffix not in {None, found}:
            raise PermanentError(f"{name} is a {found} among {suffix} frames; use one format")
        suffix = found
        path = folder / f"{num_frames:06}{suffix}"
        try:
            if isinstance(frame, Path):
                path.symlink_to(frame.resolve())
            else:
                path.write_bytes(frame)
        except OSError as error:
            raise InsufficientStorageError(
                f"{name} cannot be laid out in {folder}: {error}; free space for temporary files"
            ) from error
        num_frames += 1
    if suffix is None:
        raise PermanentError(
            "there are no frames to make a video of; check the outputs of the workflow"
        )
    return num_frames, suffix


def _suffix(frame: Path | bytes, name: str) -> str:
    try:
        head = _head(frame)
    except OSError as error:
        raise PermanentError(f"{name} cannot be read: {error}") from error
    for magic, suffix in _SUFFIX_BY_MAGIC.items():
        if head.startswith(magic):
            return suffix
    raise PermanentError(f"{name} starts with {head!r}: frames are PNG, JPEG or WEBP")


def _head(frame: Path | bytes) -> bytes:
    if isinstance(frame, bytes):
        return frame[:4]
    with frame.open("rb") as file:
        return file.read(4)
