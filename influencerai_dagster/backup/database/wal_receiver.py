"""Receive WAL until stopped: restart the receiver after failures, and archive segments.

It does the work of `barman cron` in one process, as a service of the local stack, of Compose and
of the Helm chart.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.barman_program import end_programs_at
from influencerai_dagster.backup.database.wal_position import choose_resume_position
from influencerai_dagster.errors import InfluencerAIError, InsufficientStorageError, TransientError

ARCHIVE_SECONDS = 60.0
RESTART_SECONDS = 5.0
_POLL_SECONDS = 0.5
_STOP_SECONDS = 5.0


def receive_wal(
    server: BarmanServer,
    stopping: threading.Event,
    *,
    log: Callable[[str], None],
    restart_seconds: float = RESTART_SECONDS,
) -> None:
    """Receive WAL until `stopping` is set.

    A receiver that ends is started again; meanwhile the replication slot keeps the WAL on the
    server.

    Args:
        server: the server with its backups.
        stopping: set it from a signal handler or another thread.
        log: gets a line about every start, end and failure.
        restart_seconds: between two starts of the receiver.
    """
    process: subprocess.Popen[bytes] | None = None
    start_at = archive_at = time.monotonic()
    try:
        while not stopping.is_set():
            now = time.monotonic()
            if process is not None and process.poll() is not None:
                log(f"the receiver ended with {process.returncode}; again in {restart_seconds:g} s")
                _log_if_full(server, log)
                process, start_at = None, now + restart_seconds
            if process is None and now >= start_at:
                process, start_at = _start(server, log), now + restart_seconds
            if now >= archive_at:
                archive_at = now + ARCHIVE_SECONDS
                _archive(server, log)
            stopping.wait(_POLL_SECONDS)
    finally:
        if process is not None:
            _stop(process)


def _start(server: BarmanServer, log: Callable[[str], None]) -> "subprocess.Popen[bytes] | None":
    # After a kill of Barman, pg_receivewal still runs and holds the slot and the segment.
    end_programs_at(server.folder / "streaming")
    try:
        with suppress(TransientError):  # the receiver itself will report what is wrong
            resumed = choose_resume_position(server)
            if resumed is not None:
                log(resumed)
        command = server.receive_wal_command()
    except (InfluencerAIError, OSError) as error:
        log(f"the receiver was not started: {error}")
        return None
    log(f"receiving WAL into {server.folder / 'streaming'}")
    return subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        command, env=server.environment, stdin=subprocess.DEVNULL
    )


def _log_if_full(server: BarmanServer, log: Callable[[str], None]) -> None:
    try:
        server.check_space()
    except InsufficientStorageError as error:
        log(str(error))


def _archive(server: BarmanServer, log: Callable[[str], None]) -> None:
    """Archive what was received whole; without that Barman, a second of CPU, is not started."""
    if not any(file.suffix != ".partial" for file in server.folder.glob("streaming/*")):
        return
    try:
        server.archive_wal()
    except InfluencerAIError as error:  # retried in a minute
        log(str(error))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
