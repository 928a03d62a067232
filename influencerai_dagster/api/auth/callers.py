"""Find out who sends a request and what it may do; every route of a tenant depends on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from influencerai_dagster.api.auth.tokens import InvalidTokenError
from influencerai_dagster.api.context import ApiContext, api_context
from influencerai_dagster.api.problems import RefusedRequestError
from influencerai_dagster.core.access import SCOPES_OF_ROLE, Scope
from influencerai_dagster.db.api_keys import KEY_PREFIX, ApiKey, use_api_key
from influencerai_dagster.db.api_role import tenant_engine
from influencerai_dagster.db.audit import record
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.rate_limits import Allowance, RateLimit, take_all
from influencerai_dagster.db.users import Credentials, User, credentials_of_id

_TENANT_FACTOR = 5
_bearer = HTTPBearer(
    auto_error=False,
    description="A token of POST /api/v1/auth/token, or an API key (`iai_…`).",
)


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Attributes:
        api_key: None if a token was sent.
        scopes: what the request may do.
        address: where it comes from.
        engine: of the catalog; its transactions see the tenant's rows alone.
    """

    user: User
    api_key: ApiKey | None
    scopes: frozenset[Scope]
    address: str
    engine: Engine

    @property
    def tenant(self) -> str:
        """The tenant that it belongs to."""
        return self.user.tenant

    @property
    def name(self) -> str:
        """How the audit log names it."""
        key = self.api_key
        return self.user.email if key is None else f"{self.user.email} by key {key.name}"

    def record(
        self,
        session: Session,
        action: str,
        target: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an entry to the tenant's audit log."""
        record(
            session,
            self.tenant,
            actor=self.name,
            action=action,
            target=target,
            detail=detail,
            address=self.address,
        )


def caller_address(request: Request) -> str:
    """Return the address that a request comes from."""
    return "" if request.client is None else request.client.host


def _caller(
    request: Request,
    context: Annotated[ApiContext, Depends(api_context)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    if bearer is None:
        raise _unauthorized("Send a token or an API key: `Authorization: Bearer …`.")
    with transaction(context.engine) as session:
        # A lost bucket or time of use costs nothing: do not wait for the disk.
        session.execute(text("SET LOCAL synchronous_commit = off"))
        credentials, key = _credentials(context, session, bearer.credentials)
        user = credentials.user
        limits = _limits(context, user, key)
        taken = take_all(session, limits)
    _refuse_too_many(request, taken)
    scopes = SCOPES_OF_ROLE[user.role]
    return Caller(
        user=user,
        api_key=key,
        scopes=scopes if key is None else scopes & key.scopes,
        address=caller_address(request),
        engine=tenant_engine(context.tenant_engine, user.tenant),
    )


AnyCaller = Annotated[Caller, Depends(_caller)]


def _needs(scope: Scope) -> Callable[[Caller], Caller]:
    def check(caller: AnyCaller) -> Caller:
        if scope not in caller.scopes:
            raise RefusedRequestError(
                HTTPStatus.FORBIDDEN,
                "missing_scope",
                f"This needs the scope {scope}; you have {', '.join(sorted(caller.scopes))}. A "
                "user's role and a key's scopes decide: ask an owner of your tenant.",
            )
        return caller

    return check


Reader = Annotated[Caller, Depends(_needs(Scope.READ))]
JobsCaller = Annotated[Caller, Depends(_needs(Scope.JOBS))]
DatasetsCaller = Annotated[Caller, Depends(_needs(Scope.DATASETS))]
AdminCaller = Annotated[Caller, Depends(_needs(Scope.ADMIN))]
"""Callers that may do it; a route that takes one refuses all others."""


def _credentials(
    context: ApiContext, session: Session, text_sent: str
) -> tuple[Credentials, ApiKey | None]:
    if text_sent.startswith(KEY_PREFIX):
        found = use_api_key(session, text_sent)
        if found is None:
            raise _unauthorized("The API key is unknown, revoked or expired.")
        return found[1], found[0]
    try:
        claims = context.tokens.read(text_sent)
    except InvalidTokenError as error:
        raise _unauthorized(str(error)) from None
    credentials = credentials_of_id(session, claims.user_id)
    if (
        credentials is None
        or credentials.user.tenant != claims.tenant
        or claims.issued_at < credentials.tokens_valid_from.timestamp()
    ):
        raise _unauthorized("The token is no longer valid: sign in again.")
    return credentials, None


def _limits(context: ApiContext, user: User, key: ApiKey | None) -> dict[str, RateLimit]:
    """Return the buckets of a request: the caller's own, then its tenant's."""
    api = context.settings.api
    if not api.has_rate_limits:
        return {}
    who = f"user/{user.id}" if key is None else f"key/{key.id}"
    return {
        f"api/{who}": RateLimit.every(api.requests_per_minute, 60),
        f"api/tenant/{user.tenant}": RateLimit.every(api.requests_per_minute * _TENANT_FACTOR, 60),
    }


def _refuse_too_many(request: Request, taken: list[Allowance]) -> None:
    if not taken:
        return
    request.state.headers = rate_limit_headers(taken[0])
    refused = next((item for item in taken if not item.is_allowed), None)
    if refused is not None:
        raise RefusedRequestError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "rate_limited",
            f"More than {refused.limit.capacity} requests a minute. Wait {refused.retry_seconds} "
            "s.",
            {"Retry-After": str(refused.retry_seconds)},
        )


def rate_limit_headers(allowance: Allowance) -> dict[str, str]:
    """Return the RateLimit-* headers of an allowance."""
    return {
        "RateLimit-Limit": str(allowance.limit.capacity),
        "RateLimit-Remaining": str(allowance.remaining),
        "RateLimit-Reset": str(allowance.reset_seconds),
    }


def _unauthorized(detail: str) -> RefusedRequestError:
    return RefusedRequestError(
        HTTPStatus.UNAUTHORIZED, "unauthorized", detail, {"WWW-Authenticate": "Bearer"}
    )
