"""Probe servers of this machine: a port, an HTTP server, a code server of Dagster."""

import socket
from pathlib import Path

from influencerai_dagster.errors import TransientError
from influencerai_dagster.http_clients import client_options
from influencerai_dagster.local.processes import LOOPBACK
from influencerai_dagster.orchestration.run_launcher.protocol import Request, ask
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder

_PROBE_SECONDS = 2.0
_SUCCESS = range(200, 300)


def answers(url: str) -> bool:
    """Tell whether a URL answers with success."""
    return _status(url, _PROBE_SECONDS) in _SUCCESS


def responds(url: str, timeout_seconds: float) -> bool:
    """Tell whether an HTTP server says anything at all."""
    return _status(url, timeout_seconds) is not None


def _status(url: str, timeout_seconds: float) -> int | None:
    """Return the status of an answer; None if there was none."""
    import httpx  # noqa: PLC0415 - takes 0.1 s to import; most commands only look at a port

    try:
        return httpx.get(url, timeout=timeout_seconds, **client_options(url)).status_code
    except httpx.TransportError:
        return None


def serves_dagster(port: int, *, timeout_seconds: float = _PROBE_SECONDS) -> bool:
    """Tell whether a code server of Dagster answers, by the health check of gRPC."""
    import grpc  # noqa: PLC0415 - slow, and of use to the supervisor alone
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - as above

    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=options) as channel:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def forks_runs(dagster_home: Path, timeout_seconds: float) -> bool:
    """Tell whether the fork server of a Dagster instance answers."""
    folder = RunFolder.below(dagster_home).path
    try:
        ask(folder, Request(action="describe"), timeout_seconds=timeout_seconds)
    except TransientError:
        return False
    return True


def listens(port: int) -> bool:
    """Tell whether a program listens on a port of this machine."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True
