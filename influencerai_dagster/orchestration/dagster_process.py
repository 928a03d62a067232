"""Runs a program of Dagster as a process of its own: `python -m … dagster api grpc --port …`.

The same program, started so that a supervisor can rely on two things:

- When the thread of the code server dies that looks after runs, the process ends and is started
  anew. Any database error ends that thread for good (Dagster 1.13), and nobody would notice.
- A line of the log is there once. The first `logging.warning` of Dagster gives the root logger an
  output of its own, and from then on it would repeat every line.
"""

import logging
import os
import sys
import threading
from importlib.metadata import entry_points

_OWN_THREADS = "grpc-server"
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
    sys.argv = sys.argv[1:]
    (program,) = entry_points(group="console_scripts", name=sys.argv[0])
    sys.exit(program.load()())


if __name__ == "__main__":
    main()
