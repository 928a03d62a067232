"""Write files whole or not at all, and explain errors of the operating system.

Knows nothing of what the files hold.
"""

import errno
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_READ = 0o044
_REMEDIES = {
    errno.ENOSPC: "its disk is full: make space and try again",
    errno.EDQUOT: "your quota on its disk is used up: make space and try again",
    errno.EROFS: "its file system is read-only: choose another folder",
    errno.EFBIG: "this shell limits the size of files: run `ulimit -f unlimited` and try again",
    errno.ENOTDIR: "a file is where a folder is needed: remove it, or choose another folder",
    errno.EEXIST: "a file is where a folder is needed: remove it, or choose another folder",
    errno.EISDIR: "a folder is where a file is needed: remove it, or choose another name",
    errno.ENOENT: "it is not there: check the name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EIO: "its disk cannot be read or written: look at the disk",
}
_LIMITS = {
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`) and try again",
    errno.EAGAIN: "the limit of processes is reached: raise the limit (`ulimit -u`) and try again",
    errno.ENOMEM: "this machine has no memory left: close programs and try again",
}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read: it is whole or not there, also after a power cut.

    Raises:
        OSError: it was not written; what was there before still is.
    """
    with _staging(path, content) as staging:
        staging.replace(path)


def write_new(path: Path, content: bytes) -> bool:
    """Write a file as `write_whole` does, unless there is one.

    Returns:
        Whether it was written; False also if another process wrote one at the same moment.
    """
    with _staging(path, content) as staging:
        try:
            path.hardlink_to(staging)
        except FileExistsError:
            return False
    return True


@contextmanager
def _staging(path: Path, content: bytes) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_readers_of(folder: Path, *items: Path) -> None:
    """Let everybody read these files and folders who can read a folder, whatever our umask is."""
    readers = folder.stat().st_mode & _READ
    for item in items:
        with suppress(PermissionError):  # of another user, who has decided
            mode = stat.S_IMODE(item.stat().st_mode)
            enter = readers >> 2 if item.is_dir() else 0  # r becomes x
            item.chmod(mode | readers | enter)


def explained(error: OSError) -> str:
    """Return in one line what the operating system refused, and what to do."""
    if error.errno in _LIMITS:
        return f"{_subject(error)}{_LIMITS[error.errno]}"
    if error.filename is None:
        return error.strerror or str(error) or type(error).__name__
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{_subject(error)}{_refused(Path(os.fsdecode(error.filename)))}"
    why = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
    return f"{_subject(error)}{why}"


def _subject(error: OSError) -> str:
    if error.filename is None or isinstance(error.filename, int):
        return ""
    return f"{os.fsdecode(error.filename)} cannot be used: "


def _refused(path: Path) -> str:
    """Name the owner of the file or folder that denies access."""
    for item in (path, *path.absolute().parents):
        with suppress(OSError):
            owner, me = item.stat().st_uid, os.geteuid()
            if owner == me:
                return f"the permissions of {item} do not allow it: change them (chmod)"
            return (
                f"{item} belongs to user {user_name(owner)}, and this program runs as user "
                f"{user_name(me)}. Run it as {user_name(owner)}, give the other the folder "
                f"(`sudo chown -R {user_name(me)} {item}`), or choose another folder"
            )
    return "its permissions do not allow it"


def user_name(uid: int) -> str:
    """Return the name of a user, or the number if this machine has no name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
