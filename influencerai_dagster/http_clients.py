"""Decide how HTTP servers are reached: proxies and certificate authorities.

This machine's own servers are reached directly, whatever the environment says. Others are reached
as it says: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case, with networks
(10.0.0.0/8, fd00::/8) in the last one. httpx is given the outcome: its own reading fails for a
proxy or a network that it does not know, even where that one is not needed.
Certificates are checked with SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from influencerai_dagster.errors import PermanentError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")


def client_options(url: str) -> dict[str, Any]:
    """Return how httpx's client for one server is made: `httpx.Client(**client_options(url))`.

    Raises:
        PermanentError: the proxy or the certificates that the environment names cannot be used.
    """
    return {"proxy": proxy_for(url), "verify": ssl_context(url) or False, "trust_env": False}


def is_direct(url: str) -> bool:
    """Return whether a server is reached without a proxy, because of its address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return is_loopback(host) or _is_excepted(host, parts.port or _PORTS.get(parts.scheme, 0))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def proxy_for(url: str) -> str | None:
    """Return the proxy for a server, None if it is reached directly.

    Raises:
        PermanentError: it is of a kind that httpx does not speak.
    """
    parts = urlsplit(url)
    proxies = {} if is_direct(url) else getproxies()
    found = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not found:
        return None
    proxy = found if "://" in found else f"http://{found}"
    if not _is_proxy(proxy):
        raise PermanentError(
            f"{parts.scheme}://{parts.hostname} cannot be reached: the environment names the proxy "
            f"{proxy.rpartition('@')[2]!r} for it (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY), and only "
            "http://host:port and https://host:port are supported. Name one of those, or put the "
            "host into NO_PROXY"
        )
    return proxy


def _is_proxy(url: str) -> bool:
    import httpx  # noqa: PLC0415 - takes 0.1 s to import, and few machines have a proxy

    try:
        httpx.URL(url)
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def ssl_context(url: str) -> ssl.SSLContext | None:
    """Return the certificate authorities to check a server with; None where there is no TLS.

    Raises:
        PermanentError: the environment names a file that cannot be used.
    """
    if urlsplit(url).scheme not in {"https", "wss"}:
        return None
    name, path = _ca_variable()
    try:
        return _ssl_context(path)
    except OSError as error:  # ssl.SSLError too
        raise PermanentError(
            f"{name}={path} cannot be used as certificate authorities: {error.strerror or error}. "
            "Name a file of certificates in PEM form"
        ) from error


def certificate_variables() -> dict[str, str]:
    """Return the variables that name these certificate authorities to other programs."""
    _, path = _ca_variable()
    if path is None:
        return {}
    return {"SSL_CERT_DIR" if path.is_dir() else "SSL_CERT_FILE": str(path)}


def ca_bundle() -> str | None:
    """Return the file or folder of the certificate authorities, None for those of a library."""
    _, path = _ca_variable()
    return None if path is None else str(path)


def without_proxy_on_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY and no_proxy with this machine added, for libraries that read them.

    What each of them names stays in it: programs differ in which of the two they prefer. One that
    is not set gets what the other one names, which it would hide otherwise.
    """
    names = ("NO_PROXY", "no_proxy")
    given = [environment.get(name, "").strip() for name in names]
    return {
        name: _with_loopback(own or other)
        for name, own, other in zip(names, given, reversed(given), strict=True)
    }


def _with_loopback(hosts: str) -> str:
    listed = [host.strip() for host in hosts.split(",") if host.strip()]
    if "*" in listed:
        return "*"  # alone: with others beside it some programs take it for a host
    return ",".join([*listed, *(host for host in _LOOPBACK if host not in listed)])


def _is_excepted(host: str, port: int) -> bool:
    """Return whether NO_PROXY names a server, in any form that programs take: `*.corp`, `a; b`."""
    proxies = getproxies()
    listed = [item for item in re.split(r"[,;\s]+", proxies.get("no", "")) if item]
    if "*" in listed or _is_in_a_network(host, listed):
        return True
    names = [item.removeprefix("*").rstrip(".") for item in listed]
    return bool(proxy_bypass(f"{host}:{port}", {**proxies, "no": ",".join(names)}))


def _is_in_a_network(host: str, listed: list[str]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for item in listed:
        network = item.replace("[", "").replace("]", "")
        with suppress(ValueError):  # a name
            if address in ipaddress.ip_network(network, strict=False):
                return True
    return False


def _ca_variable() -> tuple[str, Path | None]:
    for name in _CA_VARIABLES:
        if os.environ.get(name):
            return name, Path(os.environ[name])
    return "", None


@lru_cache
def _ssl_context(path: Path | None) -> ssl.SSLContext:
    """Load them once: that takes longer than a request."""
    if path is None:
        import httpx  # noqa: PLC0415 - as above

        return httpx.create_ssl_context(trust_env=False)
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
