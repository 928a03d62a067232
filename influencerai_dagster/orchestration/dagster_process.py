"""Runs a program of Dagster as a process of its own: `python -m … dagster api grpc --port …`.

The same program, started so that three things can be relied on:

- When the thread of the code server dies that looks after runs, the process ends and is started
  anew. Any database error ends that thread for good (Dagster 1.13), and nobody would notice.
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
from importlib.metadata import entry_points

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
    """Tell why a thread died, and end the process if it cannot do its work without it."""
    threading.__excepthook__(failed)
    name = failed.thread.name if failed.thread else ""
    if name.startswith(_OWN_THREADS):
        _log.critical("The thread %s died, so this process ends to be started again.", name)
        logging.shutdown()
        os._exit(1)  # without waiting for its runs: they go on


def main() -> None:
    """Run the program that the arguments name, as its own command would."""
    logging.basicConfig(format=_FORMAT)
    logging.getLogger("dagster").propagate = False
    threading.excepthook = end_with_own_threads
    os.environ.update(_TIME_LIMITS | os.environ)  # Dagster reads them when it is imported
    sys.argv = sys.argv[1:]
    (program,) = entry_points(group="console_scripts", name=sys.argv[0])
    sys.exit(program.load()())


if __name__ == "__main__":
    main()
