"""Run the whole system on one machine, from the first process to the last signal.

Which processes there are is in services.py, how they are kept running in supervisor.py.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.environment import remove_stack_env, write_stack_env
from influencerai_dagster.local.private_folder import make_private
from influencerai_dagster.local.services import Stack
from influencerai_dagster.local.supervisor import Supervisor, show_nothing

__all__ = ["Stack", "run_stack"]
_OWNER_ONLY = 0o077
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_stack(
    stack: Stack,
    on_ready: Callable[[], None],
    *,
    announce: Callable[[str], None],
    show_start: Callable[[], AbstractContextManager[Callable[[str], None]]] | None = None,
    stays_up: bool = True,
) -> None:
    """Run the stack until Ctrl-C, SIGTERM or SIGHUP, then stop all of it.

    Call it in the main thread, which gets the signals.

    Args:
        stack: what to run.
        on_ready: called once when everything is ready, while crashed processes are started again;
            its error stops the stack and is raised, Ctrl-C stops it too.
        announce: gets a line about each crash, and about the stop.
        show_start: surrounds the start; the block's function gets which services are starting.
        stays_up: False stops the stack when on_ready returns.

    Raises:
        PermanentError: a port is taken, a stack runs in this folder, or a process does not start.
        TransientError: a process was not ready in time.
    """
    data_dir = stack.settings.local.data_dir.resolve()
    make_private(data_dir)
    supervisor = Supervisor(stack.services(), data_dir=data_dir, announce=announce)
    watcher = threading.Thread(target=supervisor.watch, name="supervisor")
    with _signals_as_interrupt(), _private_files(), suppress(KeyboardInterrupt):
        try:
            with show_start() if show_start else nullcontext(show_nothing) as show:
                _start(stack, supervisor, show)
            watcher.start()
            on_ready()
            if stays_up:
                supervisor.stopping.wait()
        finally:
            _ignore_signals()  # a second Ctrl-C must not leave half of it running
            supervisor.stopping.set()
            if supervisor.has_started:
                announce(
                    "stopping everything: jobs that are not done continue after the next start"
                )
            if watcher.ident is not None:
                watcher.join()
            if supervisor.has_started:  # else it may be that of the stack that runs here
                remove_stack_env(stack.settings)
            supervisor.stop()
            if supervisor.has_started:
                announce("stopped")


def _start(stack: Stack, supervisor: Supervisor, show: Callable[[str], None]) -> None:
    try:
        supervisor.start(show)
    except TransientError as error:
        if stack.problem is None:
            raise
        raise TransientError(f"{error}\nThe web server says: {stack.problem}") from error
    write_stack_env(stack.settings)


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _END_SIGNALS}
    for number in _END_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _private_files() -> Iterator[None]:
    """Let everything that the stack makes be readable by its owner alone."""
    before = os.umask(_OWNER_ONLY)
    try:
        yield
    finally:
        os.umask(before)


def _ignore_signals() -> None:
    for number in _END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
