"""Our web server with our code location, in a thread, on a port of the loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
import uvicorn

# The web server has no public way to be started inside of a test, and a process each for it and for
# the code location takes ten seconds more.
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import (
    CompositeTarget,
    GrpcServerTarget,
    InProcessWorkspaceLoadTarget,
)

from influencerai_dagster.settings import load_settings
from influencerai_dagster.webserver.server import OperatorsWebserver
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

LOCATION = "influencerai"
AWAY = "code server that is away"
START_SECONDS = 30.0


@contextmanager
def queued_instance() -> Iterator[dg.DagsterInstance]:
    """Make an instance that queues runs, as ours does; no daemon takes them from the queue."""
    queue = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    with dg.instance_for_test(overrides={"run_coordinator": queue}) as instance:
        yield instance


def location_origin(location: str = LOCATION) -> InProcessCodeLocationOrigin:
    """Where our code is, under the name of a code location."""
    origin = LoadableTargetOrigin(module_name="influencerai_dagster.definitions")
    return InProcessCodeLocationOrigin(origin, location_name=location)


def job_origin(job_name: str, location: str = LOCATION) -> RemoteJobOrigin:
    """Where a run comes from; a run in the queue has to have it."""
    repository = RemoteRepositoryOrigin(location_origin(location), "__repository__")
    return RemoteJobOrigin(repository, job_name)


@contextmanager
def running_webserver(instance: dg.DagsterInstance) -> Iterator[str]:
    """Serve our code location, and one whose code server is away; the block gets the URL."""
    ours = InProcessWorkspaceLoadTarget(location_origin())
    away = GrpcServerTarget("127.0.0.1", free_port(), None, AWAY)
    with pytest.warns(UserWarning, match=f"Error loading repository location {AWAY}"):
        context = WorkspaceProcessContext(instance, CompositeTarget([ours, away]))
    with context as workspace, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = OperatorsWebserver(workspace, load_settings(dagster_webserver_port=port))
        config = uvicorn.Config(app.create_asgi_app(), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            wait_until(lambda: server.started, "the web server", timeout_seconds=START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(timeout=START_SECONDS)
