"""Hash and verify passwords with Argon2id, with the parameters of argon2-cffi (RFC 9106).

A password is verified in 64 MiB, so only a few are at once. Where there is no user, the same work
is done, so that the time does not tell which addresses have one.
"""

from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from influencerai_dagster.errors import PermanentError, TransientError

MIN_LENGTH = 12
MAX_LENGTH = 200
_AT_ONCE = 2
_WAIT_SECONDS = 2.0
"""Longer, and those who wait would hold the threads that all routes share."""
_hasher = PasswordHasher()
_slots = BoundedSemaphore(_AT_ONCE)


def hash_password(password: str) -> str:
    """Return the hash of a new password.

    Raises:
        PermanentError: it is too short or too long.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise PermanentError(
            f"The password has {len(password)} characters: use {MIN_LENGTH} to {MAX_LENGTH}"
        )
    with _slots:
        return _hasher.hash(password)


def verified_hash(password_hash: str | None, password: str) -> str | None:
    """Return the hash to keep if the password is right, otherwise None.

    Args:
        password_hash: of the user; None if there is none, which takes as long.
        password: what was sent.

    Raises:
        TransientError: too many passwords are verified at the moment.
    """
    if not _slots.acquire(timeout=_WAIT_SECONDS):
        raise TransientError("Too many sign in at the moment. Try again in some seconds.")
    try:
        return _verified_hash(password_hash, password)
    finally:
        _slots.release()


def _verified_hash(password_hash: str | None, password: str) -> str | None:
    try:
        _hasher.verify(password_hash or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return None
    if password_hash is None:
        return None
    if _hasher.check_needs_rehash(password_hash):
        return _hasher.hash(password)
    return password_hash


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("the password of nobody")
