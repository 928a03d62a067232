"""Add, read and change the users of tenants; passwords come here as their hashes."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.access import Role
from influencerai_dagster.db.models.access import UserRow
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError, UnknownNameError

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,189}")


@dataclass(frozen=True)
class User:
    """An account that signs in."""

    id: UUID
    tenant: str
    email: str
    role: Role
    created_at: datetime
    signed_in_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> "User":
        """Make the value from the columns of `_users`."""
        return cls(
            row.id, row.tenant_id, row.email, Role(row.role), row.created_at, row.signed_in_at
        )


@dataclass(frozen=True)
class Credentials:
    """A user, and what proves who it is.

    Attributes:
        tokens_valid_from: tokens that were issued before are refused.
    """

    user: User
    password_hash: str
    tokens_valid_from: datetime


def _users() -> Select[Any]:
    # Never the whole row: the API's role may not read the hash.
    return select(
        UserRow.id,
        UserRow.tenant_id,
        UserRow.email,
        UserRow.role,
        UserRow.created_at,
        UserRow.signed_in_at,
    )


def is_email(text: str) -> bool:
    """Tell whether a text has the form name@host, in lower case."""
    return text == text.lower() and _EMAIL.fullmatch(text) is not None


def check_email(value: str) -> str:
    """Return an address in lower case.

    Raises:
        PermanentError: it does not have the form name@host.
    """
    email = value.strip().lower()
    if not is_email(email):
        raise PermanentError(
            f"{value[:80]!r} is not an e-mail address: use one like anna@example.com"
        )
    return email


def add_user(session: Session, tenant: str, email: str, password_hash: str, role: Role) -> User:
    """Add a user.

    Raises:
        PermanentError: unknown tenant, a bad address, or one that a user has already.
    """
    require_tenant(session, tenant)
    values = {
        "id": uuid4(),
        "tenant_id": tenant,
        "email": check_email(email),
        "password_hash": password_hash,
        "role": role,
    }
    statement = insert(UserRow).values(values).on_conflict_do_nothing(index_elements=["email"])
    user_id = session.scalar(statement.returning(UserRow.id))
    if user_id is None:
        raise PermanentError(
            f"A user {values['email']!r} exists already: an address belongs to one user of one "
            "tenant"
        )
    return User.of(session.execute(_users().where(UserRow.id == user_id)).one())


def list_users(session: Session, tenant: str | None = None) -> list[User]:
    """Return the users of a tenant, or of all, by tenant and address."""
    statement = _users().order_by(UserRow.tenant_id, UserRow.email)
    if tenant is not None:
        require_tenant(session, tenant)
        statement = statement.where(UserRow.tenant_id == tenant)
    return [User.of(row) for row in session.execute(statement)]


def get_user(session: Session, email: str) -> User:
    """Return the user of an address.

    Raises:
        UnknownNameError: there is none.
    """
    row = session.execute(_users().where(UserRow.email == check_email(email))).one_or_none()
    if row is None:
        raise UnknownNameError(
            f"There is no user {email!r}; `influencerai user list` shows all, `influencerai user "
            "add` adds one"
        )
    return User.of(row)


def remove_user(session: Session, email: str) -> User:
    """Remove a user with its API keys; return who it was.

    Raises:
        UnknownNameError: there is none.
    """
    user = get_user(session, email)
    session.execute(delete(UserRow).where(UserRow.id == user.id))
    return user


def set_password(session: Session, email: str, password_hash: str) -> User:
    """Change a password; every token that was issued before is refused from now on.

    Raises:
        UnknownNameError: there is no such user.
    """
    user = get_user(session, email)
    session.execute(
        update(UserRow)
        .where(UserRow.id == user.id)
        .values(password_hash=password_hash, tokens_valid_from=func.clock_timestamp())
    )
    return user


def credentials_of(session: Session, email: str) -> Credentials | None:
    """Return a user by its address, with what proves it; None if there is none."""
    return _credentials(session, UserRow.email == email)


def credentials_of_id(session: Session, user_id: UUID) -> Credentials | None:
    """Return a user by its id, with what proves it; None if it was removed."""
    return _credentials(session, UserRow.id == user_id)


def record_sign_in(session: Session, credentials: Credentials, kept_hash: str) -> datetime | None:
    """Record a sign-in, and the password's hash with the newest parameters.

    Args:
        session: a transaction.
        credentials: with the hash that the password was compared with.
        kept_hash: the hash of the same password to keep.

    Returns:
        When it was; None if the password was changed meanwhile, or the user removed.
    """
    return session.execute(
        update(UserRow)
        .where(
            UserRow.id == credentials.user.id,
            UserRow.password_hash == credentials.password_hash,
        )
        .values(signed_in_at=func.clock_timestamp(), password_hash=kept_hash)
        .returning(UserRow.signed_in_at)
    ).scalar_one_or_none()


def sign_out(session: Session, user_id: UUID) -> None:
    """Refuse every token that was issued to a user until now."""
    session.execute(
        update(UserRow)
        .where(UserRow.id == user_id)
        .values(tokens_valid_from=func.clock_timestamp())
    )


def _credentials(session: Session, condition: Any) -> Credentials | None:  # noqa: ANN401 - a clause
    statement = _users().add_columns(UserRow.password_hash, UserRow.tokens_valid_from)
    row = session.execute(statement.where(condition)).one_or_none()
    if row is None:
        return None
    return Credentials(User.of(row), row.password_hash, row.tokens_valid_from)
