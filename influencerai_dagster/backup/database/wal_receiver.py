"""Receives WAL for as long as it runs: starts the receiver again, and archives what it got.

The work of `barman cron`, except that a supervisor sees it: the process that runs this is a service
of the local stack, of Compose and of the Helm chart.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.barman_program import end_programs_at
from influencerai_dagster.backup.database.wal_position import choose_resume_position
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    TransientError,
)

ARCHIVE_SECONDS = 60.0
RESTART_SECONDS = 5.0
_POLL_SECONDS = 0.5
_STOP_SECONDS = 5.0


def receive_wal(
    server: BarmanServer, stopping: threading.Event, *, log: Callable[[str], None]
) -> None:
    """Receive WAL until `stopping` is set.

    A receiver that ends, because the database server went away or somebody killed it, is started
    again after a few seconds; the replication slot keeps on the server what it missed.

    Args:
        server: whose WAL.
        stopping: ends it, from a signal handler or another thread.
        say: gets a line about every start, end and failure.
    """
    process: subprocess.Popen[bytes] | None = None
    start_at = archive_at = time.monotonic()
    try:
        while not stopping.is_set():
            now = time.monotonic()
            if process is not None and process.poll() is not None:
                log(f"the receiver ended with {process.returncode}; again in {RESTART_SECONDS:g} s")
                _say_if_full(server, log)
                process, start_at = None, now + RESTART_SECONDS
            if process is None and now >= start_at:
                process, start_at = _started(server, log), now + RESTART_SECONDS
            if now >= archive_at:
                archive_at = now + ARCHIVE_SECONDS
                _archive(server, log)
            stopping.wait(_POLL_SECONDS)
    finally:
        if process is not None:
            _stop(process)


def _started(server: BarmanServer, log: Callable[[str], None]) -> "subprocess.Popen[bytes] | None":
    # pg_receivewal outlives a Barman that was killed, and would keep slot and segment.
    end_programs_at(server.folder / "streaming")
    try:
        with suppress(TransientError):  # the receiver itself will say what is wrong
            anew = choose_resume_position(server)
            if anew is not None:
                log(anew)
        command = server.receive_wal_command()
    except (InfluencerAIError, OSError) as error:
        log(f"{error}; again in {RESTART_SECONDS:g} s")
        return None
    log(f"receiving WAL into {server.folder / 'streaming'}")
    return subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        command, env=server.environment, stdin=subprocess.DEVNULL
    )


def _say_if_full(server: BarmanServer, log: Callable[[str], None]) -> None:
    try:
        server.check_space()
    except InsufficientStorageError as error:
        log(str(error))


def _archive(server: BarmanServer, log: Callable[[str], None]) -> None:
    try:
        server.archive_wal()
    except InfluencerAIError as error:  # the next minute may be better
        log(str(error))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
