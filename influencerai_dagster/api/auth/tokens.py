"""Sign and read tokens: JWT with HS256, and a second secret while the first is replaced.

Follows RFC 7519 and its best practices, RFC 8725: one algorithm, issuer, audience and expiry are
checked, and `kid` says which secret signed.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt

from influencerai_dagster.errors import PermanentError

ISSUER = "influencerai"
AUDIENCE = "influencerai-api"
_ALGORITHM = "HS256"
_CLAIMS = ["iss", "aud", "sub", "exp", "iat", "jti", "tenant"]
_KEY_ID_LENGTH = 16


class InvalidTokenError(PermanentError):
    """A token that was not signed here for this API, or that has expired."""


@dataclass(frozen=True)
class TokenClaims:
    """What a valid token says.

    Attributes:
        issued_at: UNIX time by PostgreSQL's clock, with fractions of a second.
    """

    user_id: UUID
    tenant: str
    issued_at: float


class Tokens:
    """Signs tokens with one secret, and reads those of it and of the one before."""

    def __init__(self, secret: str, previous: str | None, lifetime: timedelta) -> None:
        """Keep the secrets.

        Args:
            secret: JWT_SECRET.
            previous: JWT_SECRET_PREVIOUS; its tokens are read and no new one is signed with it.
            lifetime: JWT_EXPIRES_IN.
        """
        self.lifetime = lifetime
        self._key_id = _key_id(secret)
        secrets = [secret] if previous is None else [previous, secret]
        self._secrets = {_key_id(item): item for item in secrets}

    def sign(self, user_id: UUID, tenant: str, issued_at: datetime) -> str:
        """Return a token for a user."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "tenant": tenant,
            "iat": issued_at.timestamp(),
            "exp": int((issued_at + self.lifetime).timestamp()),
            "jti": uuid4().hex,
        }
        return jwt.encode(
            claims, self._secrets[self._key_id], _ALGORITHM, headers={"kid": self._key_id}
        )

    def read(self, token: str) -> TokenClaims:
        """Return what a token says.

        Raises:
            InvalidTokenError: it was not signed by a known secret, is for others, or has expired.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            secret = self._secrets.get(key_id) if isinstance(key_id, str) else None
            if secret is None:
                raise InvalidTokenError("The token was not signed here: sign in again.")
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                # PostgreSQL's clock may be ahead of this one.
                options={"require": _CLAIMS, "verify_iat": False},
            )
            return TokenClaims(UUID(claims["sub"]), str(claims["tenant"]), float(claims["iat"]))
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError("The token has expired: sign in again.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise InvalidTokenError("The token was not signed here: sign in again.") from None


def _key_id(secret: str) -> str:
    return hmac.digest(secret.encode(), b"kid", "sha256").hex()[:_KEY_ID_LENGTH]
