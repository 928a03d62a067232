"""Parse the host names of a request from the headers Host, Origin and Referer."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Self
from urllib.parse import urlsplit

from influencerai_dagster.settings import Settings

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::(\d{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {80, 443}
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Authority:
    """A host name or address and its port, in one way of writing.

    Attributes:
        port: None for the default ports of http and https, which a browser does not send.
    """

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return `host` or `host:port` as one value; None if it is neither."""
        match = _AUTHORITY.fullmatch(text.lower())
        if match is None:
            return None
        host, port = match[1], int(match[2]) if match[2] else None
        if host.startswith("["):
            try:
                host = str(IPv6Address(host[1:-1]))
            except AddressValueError:
                return None
        return cls(host, None if port in _DEFAULT_PORTS else port)

    @classmethod
    def of_url(cls, url: str) -> Self | None:
        """Return the one of an http or https URL, such as an Origin; None for other texts."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        return cls.parse(parts.netloc) if parts.scheme in {"http", "https"} else None


def own_authorities(settings: Settings) -> frozenset[Authority]:
    """Return every name of this server: loopback, DAGSTER_URL, and those of the setting."""
    port = settings.dagster.webserver_port
    found = {
        *(Authority.parse(f"{name}:{port}") for name in _OWN_NAMES),
        Authority.of_url(settings.dagster.url),
        *map(Authority.parse, settings.dagster.webserver_allowed_hosts),
    }
    return frozenset(item for item in found if item is not None)
