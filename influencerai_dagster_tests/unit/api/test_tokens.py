"""Tokens that are refused: other algorithms, other keys, other audiences, too old."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from influencerai_dagster.api.auth.tokens import AUDIENCE, ISSUER, InvalidTokenError, Tokens

SECRET, OTHER = "s" * 64, "o" * 64
USER = UUID("00000000-0000-4000-8000-000000000001")
NOW = datetime.now(UTC)
TOKENS = Tokens(SECRET, None, timedelta(hours=1))


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    own = TOKENS.sign(USER, "demo", NOW)
    header = jwt.get_unverified_header(own)
    claims = jwt.decode(own, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, secret, algorithm, headers={"kid": header["kid"]})


def test_a_token_says_who_it_is_for() -> None:
    claims = TOKENS.read(TOKENS.sign(USER, "demo", NOW))
    assert (claims.user_id, claims.tenant) == (USER, "demo")
    assert claims.issued_at == pytest.approx(NOW.timestamp(), abs=1e-5)


def test_the_previous_secret_reads_and_does_not_sign() -> None:
    old = TOKENS.sign(USER, "demo", NOW)
    rotated = Tokens(OTHER, SECRET, timedelta(hours=1))
    assert rotated.read(old).user_id == USER
    with pytest.raises(InvalidTokenError):
        TOKENS.read(rotated.sign(USER, "demo", NOW))


def test_after_the_rotation_the_old_secret_is_refused() -> None:
    with pytest.raises(InvalidTokenError):
        Tokens(OTHER, None, timedelta(hours=1)).read(TOKENS.sign(USER, "demo", NOW))


def alg_none() -> str:
    own = TOKENS.sign(USER, "demo", NOW)
    header = jwt.get_unverified_header(own) | {"alg": "none"}
    return f"{part(header)}.{own.split('.')[1]}."


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(alg_none(), id="alg none"),
        pytest.param(alg_none().replace(".", ".", 1) + "x", id="alg none with a signature"),
        pytest.param(signed(secret=OTHER), id="another key"),
        pytest.param(signed(algorithm="HS512"), id="another algorithm"),
        pytest.param(signed(aud="others"), id="another audience"),
        pytest.param(signed(iss="others"), id="another issuer"),
        pytest.param(signed(aud=None), id="no audience"),
        pytest.param(signed(exp=None), id="no expiry"),
        pytest.param(signed(exp=int(NOW.timestamp()) - 1), id="expired"),
        pytest.param(signed(sub="admin"), id="no user id"),
        pytest.param(signed(tenant=None), id="no tenant"),
        pytest.param(signed(iat="now"), id="no time"),
        pytest.param(jwt.encode({"sub": "x"}, SECRET, "HS256"), id="no kid"),
        pytest.param("a.b.c", id="no JSON"),
        pytest.param("", id="empty"),
        pytest.param("é.é.é", id="not ASCII"),
        pytest.param(TOKENS.sign(USER, "demo", NOW)[:-2], id="cut"),
    ],
)
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        TOKENS.read(token)


def test_the_key_id_does_not_give_the_secret_away() -> None:
    header = jwt.get_unverified_header(TOKENS.sign(uuid4(), "demo", NOW))
    assert header["kid"] not in SECRET
    assert (ISSUER, AUDIENCE) == ("influencerai", "influencerai-api")
