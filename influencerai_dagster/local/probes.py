"""Probe servers of this machine: a port, an HTTP server, a code server of Dagster."""

import socket
from http import HTTPStatus

from influencerai_dagster.http_clients import client_options
from influencerai_dagster.local.processes import LOOPBACK

_PROBE_SECONDS = 2.0


def answers(url: str) -> bool:
    """Tell whether a URL answers with success."""
    status = _status(url, _PROBE_SECONDS)
    return status is not None and status.is_success


def responds(url: str, timeout_seconds: float) -> bool:
    """Tell whether an HTTP server says anything at all."""
    return _status(url, timeout_seconds) is not None


def _status(url: str, timeout_seconds: float) -> HTTPStatus | None:
    """Return the status of an answer; None if there was none."""
    import httpx  # noqa: PLC0415 - takes 0.1 s to import; most commands only look at a port

    try:
        return HTTPStatus(
            httpx.get(url, timeout=timeout_seconds, **client_options(url)).status_code
        )
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


def listens(port: int) -> bool:
    """Tell whether a program listens on a port of this machine."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True
