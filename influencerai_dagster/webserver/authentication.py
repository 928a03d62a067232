"""Authenticate a request: a user with a password, or a user whom a reverse proxy names."""

import base64
import binascii
import secrets
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.requests import HTTPConnection

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.http_clients import is_loopback
from influencerai_dagster.settings import Settings


@dataclass(frozen=True)
class BasicAuth:
    """One user and password, as every browser and HTTP client can send them."""

    user: str
    password: str

    def accepts(self, request: HTTPConnection) -> bool:
        """Compare all of what was sent, in a time that tells nothing about it."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            sent = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return secrets.compare_digest(sent, f"{self.user}:{self.password}".encode())

    def __repr__(self) -> str:
        return f"BasicAuth({self.user!r})"


@dataclass(frozen=True)
class ForwardAuth:
    """A header that a reverse proxy sets when it has authenticated the user.

    Attributes:
        header: its name in lower case.
        proxies: the only addresses that it is believed from.
    """

    header: str
    proxies: tuple[IPv4Network | IPv6Network, ...]

    def accepts(self, request: HTTPConnection) -> bool:
        """Tell whether one of the proxies names a user."""
        users = request.headers.getlist(self.header)
        return len(users) == 1 and bool(users[0].strip()) and self._is_proxy(request)

    def _is_proxy(self, request: HTTPConnection) -> bool:
        try:
            address = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        return any(address in network for network in self.proxies)


Authenticator = BasicAuth | ForwardAuth


def authenticators(settings: Settings) -> tuple[Authenticator, ...]:
    """Return the ways to authenticate; one of them is enough, and without any all requests pass.

    Raises:
        PermanentError: half of one is set; or there is none, and not only this machine can ask.
    """
    found: list[Authenticator] = []
    user, password = settings.dagster.webserver_user, settings.dagster.webserver_password
    if bool(user) != bool(password):
        raise PermanentError(
            "DAGSTER_WEBSERVER_USER and DAGSTER_WEBSERVER_PASSWORD belong together, and only one "
            "of them is set: set both, or none."
        )
    if user and password:
        found.append(BasicAuth(user, password.get_secret_value()))
    header, proxies = settings.dagster.webserver_auth_header, settings.dagster.webserver_proxies
    if bool(header) != bool(proxies):
        raise PermanentError(
            "DAGSTER_WEBSERVER_AUTH_HEADER and DAGSTER_WEBSERVER_PROXIES belong together, and only "
            "one of them is set: a header is believed only from the addresses of your proxy."
        )
    if header:
        found.append(ForwardAuth(header.lower(), proxies))
    host = settings.dagster.webserver_host
    if not found and not settings.dagster.webserver_allow_anonymous and not is_loopback(host):
        raise PermanentError(
            f"DAGSTER_WEBSERVER_HOST={host} accepts requests of other machines, "
            "and no authentication is set: set DAGSTER_WEBSERVER_USER and "
            "DAGSTER_WEBSERVER_PASSWORD (docs/security.md has other ways)."
        )
    return tuple(found)
