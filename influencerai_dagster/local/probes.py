"""Whether something is there on this machine: one question, no waiting."""

import socket

import httpx

from influencerai_dagster.local.environment import LOOPBACK

_PROBE_SECONDS = 2.0


def answers(url: str) -> bool:
    """Tell whether a URL answers with success."""
    try:
        return httpx.get(url, timeout=_PROBE_SECONDS, trust_env=False).is_success
    except httpx.TransportError:
        return False


def listens(port: int) -> bool:
    """Tell whether a program listens on a port of this machine."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True
