"""`influencerai user`, `api-key` and `audit`: who may use the tenants' API, and what they did."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from influencerai_dagster.cli.common import engine
from influencerai_dagster.cli.options import TenantName
from influencerai_dagster.cli.output import Document, Field, JsonOption, print_result, print_rows
from influencerai_dagster.core.access import Role, Scope
from influencerai_dagster.db import api_keys, audit, users
from influencerai_dagster.db.api_keys import ApiKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import list_tenants, require_tenant
from influencerai_dagster.db.users import User
from influencerai_dagster.errors import UnknownNameError

user_app = typer.Typer(help="Users of the tenants' API.", no_args_is_help=True)
api_key_app = typer.Typer(help="API keys of users.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log of the tenants' API.", no_args_is_help=True)

_USER_FIELDS = (
    Field("email"),
    Field("tenant"),
    Field("role"),
    Field("created_at", "since (UTC)"),
    Field("signed_in_at", "last sign-in (UTC)"),
)
_KEY_FIELDS = (
    Field("api_key_id"),
    Field("name"),
    Field("prefix"),
    Field("scopes", shown=", ".join),
    Field("created_at", "since (UTC)"),
    Field("expires_at", "expires (UTC)"),
    Field("last_used_at", "last used (UTC)"),
    Field("revoked_at", "revoked (UTC)"),
)
_AUDIT_FIELDS = (
    Field("number", is_number=True),
    Field("at", "at (UTC)"),
    Field("actor"),
    Field("action"),
    Field("target"),
    Field("address"),
)
_VERIFIED_FIELDS = (Field("tenant"), Field("entries", is_number=True), Field("sha256"))


_ROLE_HELP = "viewer reads; editor also submits jobs and changes datasets; owner does everything."


@user_app.command("add")
def add_user(
    email: str,
    tenant: TenantName,
    role: Annotated[Role, typer.Option(help=_ROLE_HELP)] = Role.EDITOR,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Add a user of a tenant; asks for the password, or reads it from standard input."""
    password_hash = _new_password_hash()
    with transaction(engine()) as session:
        user = users.add_user(session, tenant, email, password_hash, role)
        _record(session, user, "users.add", {"role": role.value})
    print_result(
        _user(user), f"user {user.email} added to tenant {tenant} as {role}", as_json=as_json
    )


@user_app.command("list")
def list_users(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """List the users of all tenants."""
    with transaction(engine()) as session:
        found = users.list_users(session, tenant)
    print_rows([_user(user) for user in found], _USER_FIELDS, as_json=as_json)


@user_app.command("set-password")
def set_password(
    email: str,
    keep_keys: Annotated[bool, typer.Option(help="Let the user's API keys stay valid.")] = False,  # noqa: FBT002 - typer's flag
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Change a password, sign the user out everywhere, and revoke its API keys.

    It asks for the password, or reads standard input.
    """
    password_hash = _new_password_hash()
    with transaction(engine()) as session:
        user = users.set_password(session, email, password_hash)
        num_revoked = 0 if keep_keys else api_keys.revoke_keys_of(session, user.id)
        _record(session, user, "users.set_password")
    line = f"user {user.email} has a new password; {num_revoked} API keys were revoked"
    print_result(_user(user), line, as_json=as_json)


@user_app.command("remove")
def remove_user(email: str, as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """Remove a user with its API keys; tokens and keys are refused from now on."""
    with transaction(engine()) as session:
        user = users.remove_user(session, email)
        _record(session, user, "users.remove")
    print_result(_user(user), f"user {user.email} removed", as_json=as_json)


@api_key_app.command("add")
def add_api_key(
    name: str,
    user: Annotated[str, typer.Option(help="The address of the user that it acts for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat it for more.")],
    days: Annotated[int | None, typer.Option(min=1, help="How long; for ever by default.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Make an API key and print it: it is shown this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with transaction(engine()) as session:
        owner = users.get_user(session, user)
        made, key = api_keys.add_api_key(session, owner, name, scope, expires_at=expires_at)
        detail = {"name": made.name, "scopes": sorted(made.scopes), "user": owner.email}
        _record(session, owner, "api_keys.create", detail, target=str(made.id))
    print_result(_api_key(made) | {"key": key}, key, as_json=as_json)


@api_key_app.command("list")
def list_api_keys(tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """List the API keys of a tenant, also those that are revoked or expired."""
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        keys = api_keys.list_api_keys(session, tenant)
    print_rows([_api_key(key) for key in keys], _KEY_FIELDS, as_json=as_json)


@api_key_app.command("revoke")
def revoke_api_key(
    key_id: Annotated[UUID, typer.Argument(help="From `influencerai api-key list`.")],
    tenant: TenantName,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Refuse an API key from now on."""
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        key = api_keys.revoke_api_key(session, tenant, key_id)
        if key is None:
            raise UnknownNameError(
                f"tenant {tenant!r} has no API key {key_id}; `influencerai api-key list` shows them"
            )
        audit.record(
            session,
            tenant,
            actor=audit.OPERATOR,
            action="api_keys.revoke",
            target=str(key_id),
            detail={"name": key.name},
        )
    print_result(_api_key(key), f"API key {key.name} is revoked", as_json=as_json)


@audit_app.command("list")
def list_audit(
    tenant: TenantName,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """List the newest entries of a tenant's audit log."""
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        entries = audit.newest_entries(session, tenant, limit=limit)
    print_rows([asdict(entry) for entry in entries], _AUDIT_FIELDS, as_json=as_json)


@audit_app.command("verify")
def verify_audit(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Recompute the hashes of the audit log; fails if an entry was changed or is missing."""
    rows: list[Document] = []
    with transaction(engine()) as session:
        wanted = [require_tenant(session, tenant)] if tenant else list_tenants(session)
        for item in wanted:
            newest = audit.verify(session, item.id)
            number, sha256 = (0, "") if newest is None else (newest.number, newest.sha256)
            rows.append({"tenant": item.id, "entries": number, "sha256": sha256})
    print_rows(rows, _VERIFIED_FIELDS, as_json=as_json)


def _new_password_hash() -> str:
    from influencerai_dagster.api.auth.passwords import hash_password  # noqa: PLC0415 - slow

    if sys.stdin.isatty():
        password: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    return hash_password(password)


def _record(
    session: Session, user: User, action: str, detail: Document | None = None, target: str = ""
) -> None:
    audit.record(
        session,
        user.tenant,
        actor=audit.OPERATOR,
        action=action,
        target=target or user.email,
        detail=detail,
    )


def _user(user: User) -> Document:
    return {
        "email": user.email,
        "tenant": user.tenant,
        "role": user.role.value,
        "created_at": user.created_at,
        "signed_in_at": user.signed_in_at,
    }


def _api_key(key: ApiKey) -> dict[str, Any]:
    return {
        "api_key_id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }
