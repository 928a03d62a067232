"""Find and stop the stack that the command line means, and say when it does not run.

How its settings are found is in environment.py.
"""

import shlex
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.environment import STACK_ENV_FILE
from influencerai_dagster.local.folder_lock import FolderLock
from influencerai_dagster.local.probes import listens
from influencerai_dagster.local.processes import (
    RECORD_FILE,
    STACK_ID,
    clean_leftovers,
    supervisor_process,
)
from influencerai_dagster.settings import Settings, load_settings

_PROJECT_DIR = Path(__file__).parents[2]


def why_no_stack(settings: Settings) -> str | None:
    """Say that there is no server to work with, and how to start one; None if there may be one.

    A server that DATABASE_URL names is not looked at here: its own errors speak of it.

    Args:
        settings: as `running_stack_settings` found them.
    """
    if "url" in load_settings().database.model_fields_set:
        return None
    data_dir = settings.local.data_dir.resolve()
    env_file = data_dir / STACK_ENV_FILE
    if not env_file.exists():
        supervisor = supervisor_process(data_dir / RECORD_FILE)
        if supervisor is not None:
            return (
                f"The stack in {data_dir} (process {supervisor.pid}) is just starting: try again "
                "when its terminal shows the address of the Dagster UI"
            )
        return (
            f"No stack runs in {data_dir} (there is no {STACK_ENV_FILE}), and DATABASE_URL names "
            f"no other server. {_how_to_start()}{_other_stacks(data_dir)}"
        )
    address = urlsplit(settings.database.url)
    if address.port is None or listens(address.port):
        return None
    return (
        f"The stack in {data_dir} does not run: PostgreSQL does not answer at "
        f"{address.hostname}:{address.port}, as {env_file} says. {_how_to_start()}. If it is just "
        f"starting, wait: {data_dir / 'logs' / 'postgres.log'} says what it does"
        f"{_other_stacks(data_dir)}"
    )


def stop_stack(data_dir: Path, *, timeout_seconds: float) -> int | None:
    """Stop the stack of a folder, and wait until it has ended.

    What a killed supervisor left running is ended too.

    Returns:
        The process id of its supervisor; None if no stack ran.

    Raises:
        TransientError: it has not ended in time; it is still ending.
        PermanentError: a stack is just starting in this folder.
    """
    record = data_dir / RECORD_FILE
    supervisor = supervisor_process(record)
    if supervisor is None:
        if record.exists():
            with FolderLock(data_dir):  # held by a stack that is just starting
                clean_leftovers(record)
        return None
    try:
        supervisor.terminate()
        supervisor.wait(timeout_seconds)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise TransientError(
            f"The stack in {data_dir} (process {supervisor.pid}) was asked to stop and has not "
            f"ended in {timeout_seconds:g} s: wait, or see {data_dir / 'logs'}"
        ) from None
    return supervisor.pid


def _how_to_start() -> str:
    if (_PROJECT_DIR / "Makefile").exists():
        return f"Start it: `make up` in {_PROJECT_DIR}"
    return "Start it: `influencerai up`"


def _other_stacks(data_dir: Path) -> str:
    """Name the stacks that run elsewhere on this machine: one of them may be the one meant."""
    found = {
        environ["DATA_DIR"]
        for process in psutil.process_iter(["environ"])
        if STACK_ID in (environ := process.info["environ"] or {}) and "DATA_DIR" in environ
    }
    others = sorted(found - {str(data_dir)})
    if not others:
        return ""
    listed = " or ".join(f"DATA_DIR={shlex.quote(folder)}" for folder in others)
    return f". Stacks that run elsewhere: for one of them set {listed}"
