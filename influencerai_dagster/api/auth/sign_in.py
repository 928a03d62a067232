"""Sign a user in by password, and limit how often that fails.

Every attempt takes a token from three buckets, and a successful one returns it: two attempts at
the same moment cannot share one. What a bucket refuses takes no token from the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from influencerai_dagster.api.auth.passwords import verified_hash
from influencerai_dagster.api.auth.tokens import Tokens
from influencerai_dagster.api.problems import RefusedRequestError
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.db import users
from influencerai_dagster.db.audit import record
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.rate_limits import RateLimit, put_back, take_all
from influencerai_dagster.db.users import Credentials
from influencerai_dagster.errors import TransientError

_QUARTER, _HOUR = 900.0, 3600.0
_IPV6_LINE_BITS = 64
FAILURES_OF_ACCOUNT_AND_ADDRESS = RateLimit.every(5, _QUARTER)
FAILURES_OF_ADDRESS = RateLimit.every(30, _QUARTER)
FAILURES_OF_ACCOUNT = RateLimit.every(50, _HOUR)
"""Larger, so that somebody else's failures do not lock a user out."""


@dataclass(frozen=True)
class SignedIn:
    """A token, and how long it is valid."""

    token: str
    expires_in_seconds: int


def sign_in(engine: Engine, tokens: Tokens, email: str, password: str, address: str) -> SignedIn:
    """Return a token for a user.

    Args:
        engine: of the catalog, for all tenants: which one it is, the address says.
        tokens: signs it.
        email: of the user.
        password: of the user.
        address: where the request comes from.

    Raises:
        RefusedRequestError: wrong address or password (401), or too many of them (429).
        TransientError: too many sign in at the moment, or the catalog is away.
    """
    email = email.strip().lower()
    buckets = _buckets(email, address)
    _take(engine, buckets)
    with transaction(engine) as session:
        credentials = users.credentials_of(session, email) if users.is_email(email) else None
    try:
        kept_hash = verified_hash(credentials.password_hash if credentials else None, password)
    except TransientError:  # nothing was found out: the attempt does not count
        with transaction(engine) as session:
            _put_back(session, buckets)
        raise
    if credentials is None or kept_hash is None:
        _record_failure(engine, credentials, address)
        raise _wrong_credentials()
    user = credentials.user
    with transaction(engine) as session:
        issued_at = users.record_sign_in(session, credentials, kept_hash)
        if issued_at is None:  # the password was changed while this one was compared
            raise _wrong_credentials()
        _put_back(session, buckets)
        record(session, user.tenant, actor=user.email, action="auth.sign_in", address=address)
    token = tokens.sign(user.id, user.tenant, issued_at)
    return SignedIn(token, int(tokens.lifetime.total_seconds()))


def _wrong_credentials() -> RefusedRequestError:
    return RefusedRequestError(
        HTTPStatus.UNAUTHORIZED,
        "wrong_credentials",
        "There is no user with this address and password.",
        {"WWW-Authenticate": "Bearer"},
    )


def _buckets(email: str, address: str) -> Mapping[str, RateLimit]:
    """Return the limits of an attempt, the narrowest first."""
    account = sha256_hex(email.encode())  # whatever was sent, the key is short
    network = _network(address)
    return {
        f"sign-in/{account}/{network}": FAILURES_OF_ACCOUNT_AND_ADDRESS,
        f"sign-in/from/{network}": FAILURES_OF_ADDRESS,
        f"sign-in/{account}": FAILURES_OF_ACCOUNT,
    }


def _network(address: str) -> str:
    """Return whose address it is: one line of IPv6 has 2^64 of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network((found.packed, _IPV6_LINE_BITS), strict=False))
    return str(found)


def _take(engine: Engine, buckets: Mapping[str, RateLimit]) -> None:
    with transaction(engine) as session:
        refused = take_all(session, buckets)[-1]
    if not refused.is_allowed:
        raise RefusedRequestError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too_many_failures",
            f"Too many sign-ins with this address failed. Try again in {refused.retry_seconds} s.",
            {"Retry-After": str(refused.retry_seconds)},
        )


def _put_back(session: Session, buckets: Mapping[str, RateLimit]) -> None:
    for key, limit in buckets.items():
        put_back(session, key, limit)


def _record_failure(engine: Engine, credentials: Credentials | None, address: str) -> None:
    if credentials is None:
        return
    user = credentials.user
    with transaction(engine) as session:
        record(
            session, user.tenant, actor=user.email, action="auth.sign_in_failed", address=address
        )
