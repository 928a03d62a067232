"""Load the code location once, in the state from which processes can be forked.

A forked process has only the thread that forked it: locks that another thread held stay locked for
ever. So nothing here may start a thread or open a connection, and the fork server looks before each
fork whether that holds.
"""

import gc
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.client import make_s3_client

_USED_BY_RUNS = (
    *("dagster._cli", "dagster._core.instance.factory", "dagster._core.workspace.autodiscovery"),
    *("dagster._core.execution.plan.active", "dagster._core.executor.in_process"),
    *("dagster._core.storage.local_compute_log_manager", "dagster._core.storage.root"),
    *("dagster._core.storage.sqlite_storage", "influencerai_dagster.orchestration.dagster_storage"),
    *("dagster_postgres", "psycopg2.extras", "upath.implementations.local"),
    *("watchdog.observers.polling", "httpx"),
    *("numpy", "scipy.fftpack", "imagehash"),
)
"""What a run imports and the definitions do not."""


class SourceFile(NamedTuple):
    """A file from which a module was loaded, and its state at that time."""

    path: str
    modified_ns: int
    size_bytes: int


def preload(module_name: str) -> frozenset[SourceFile]:
    """Import the code location and what its runs import, and freeze it for the garbage collector.

    Args:
        module_name: has the definitions.

    Returns:
        The files of the package from which it was loaded.
    """
    # The BLAS of numpy would start a thread for each core. Our images are small: one is enough.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    module = import_module(module_name)
    for name in _USED_BY_RUNS:
        import_module(name)
    _make_an_s3_client()
    repository = module.defs.get_repository_def()
    repository.load_all_definitions()
    files = frozenset(_source_files(module_name.partition(".")[0]))
    gc.collect()
    gc.freeze()  # a collection in a run would write to, and so copy, every page
    return files


def _make_an_s3_client() -> None:
    """Make a client and forget it: the first one loads boto3 and its description of S3, 0.1 s."""
    make_s3_client(
        endpoint_url="http://127.0.0.1",  # nothing is sent
        access_key="none",
        secret_key="none",  # noqa: S106 - of nobody
        region="none",
        path_style=True,
        checksum_mode="when_required",
    )


def changed_file(files: frozenset[SourceFile]) -> str | None:
    """Return a file that was changed since it was loaded, or None."""
    return next((file.path for file in sorted(files) if _state(file.path) != file), None)


def check_single_threaded() -> None:
    """Check that this process can be forked.

    Raises:
        PermanentError: it has more than one thread.
    """
    number = len(list(Path("/proc/self/task").iterdir()))
    if number != 1:
        names = ", ".join(sorted(path.name for path in Path("/proc/self/task").iterdir()))
        raise PermanentError(
            f"the fork server has {number} threads ({names}) and must not fork: a forked process "
            "could wait for ever for a lock of a thread that it does not have. Find the module "
            "that starts a thread when it is imported"
        )


def _source_files(package: str) -> list[SourceFile]:
    paths = {
        module.__file__
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == package and getattr(module, "__file__", None)
    }
    return [state for path in paths if path and (state := _state(path)) is not None]


def _state(path: str) -> SourceFile | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return SourceFile(path, found.st_mtime_ns, found.st_size)
