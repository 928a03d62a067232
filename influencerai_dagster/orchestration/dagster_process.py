"""Run a program of Dagster as a process of its own: `python -m … dagster api grpc --port …`.

The same program, started so that four things can be relied on:

- The daemon starts with the pool limits of the settings (QUEUE_CONCURRENCY_*).
- When the thread of the code server dies that looks after runs, the process ends and is started
  again. Any database error ends that thread for good (Dagster 1.13), without a sign outside.
- A line of the log is there once. The first `logging.warning` of Dagster gives the root logger an
  output of its own, and from then on it would repeat every line.
- A run is started once. Where the code server took more than Dagster's 60 s to start the process of
  a run, as on a machine with too much to do, the daemon puts the run back into its queue and starts
  a second process; when that one ends as superfluous, the code server takes it for the run's only
  process and fails the run, which was at work (Dagster 1.13).
"""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import NoReturn

from influencerai_dagster.settings import load_settings

_OWN_THREADS = "grpc-server"
_TIME_LIMITS = {
    # More than dagster.yaml's start_timeout_seconds: until then a start is waited for, and after it
    # the run has failed and is not put back into the queue.
    "DAGSTER_GRPC_TIMEOUT_SECONDS": "240",
    # These follow the one above if they are not set; they are left as Dagster has them.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "60",
    "DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS": "60",
    "DAGSTER_REPOSITORY_GRPC_TIMEOUT_SECONDS": "180",
    "DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD": "60",
}
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log = logging.getLogger(__name__)


def end_with_own_threads(failed: threading.ExceptHookArgs) -> None:
    """Log why a thread died, and end the process if it cannot work without it."""
    threading.__excepthook__(failed)
    name = failed.thread.name if failed.thread else ""
    if name.startswith(_OWN_THREADS):
        _log.critical("The thread %s died, so this process ends to be started again.", name)
        logging.shutdown()
        os._exit(1)  # without waiting for its runs: they continue


def main() -> None:
    """Run the program that the arguments name, as its own command would."""
    prepare_process()
    if sys.argv[1:3] == ["dagster-daemon", "run"]:
        set_pool_limits()
    run_program(sys.argv[1:])


def prepare_process() -> None:
    """Set what every process of Dagster needs, before it imports Dagster."""
    logging.basicConfig(format=_FORMAT)
    logging.getLogger("dagster").propagate = False
    threading.excepthook = end_with_own_threads
    os.environ.update(_TIME_LIMITS | os.environ)  # Dagster reads them when it is imported


def run_program(arguments: Sequence[str]) -> NoReturn:
    """Run a program of Dagster in this process, as its own command would.

    Args:
        arguments: the program and its arguments: `dagster api grpc --port 4000`.
    """
    sys.argv = list(arguments)
    (program,) = entry_points(group="console_scripts", name=sys.argv[0])
    sys.exit(program.load()())


def set_pool_limits() -> None:
    """Set the limits of the settings in the instance of DAGSTER_HOME."""
    # Imported late: Dagster reads variables that main() sets.
    from influencerai_dagster.orchestration import startup  # noqa: PLC0415 - imports Dagster
    from influencerai_dagster.orchestration.pools import pool_limits  # noqa: PLC0415 - as above

    with startup.dagster_instance() as instance:
        startup.apply_pool_limits(instance, pool_limits(load_settings()))


if __name__ == "__main__":
    main()
