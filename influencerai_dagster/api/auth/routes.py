"""POST /auth/token: sign in; DELETE: sign out everywhere."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from influencerai_dagster.api.auth.callers import AnyCaller, caller_address
from influencerai_dagster.api.auth.passwords import MAX_LENGTH
from influencerai_dagster.api.auth.sign_in import sign_in
from influencerai_dagster.api.context import ApiContext, api_context
from influencerai_dagster.api.problems import RefusedRequestError
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.users import sign_out

router = APIRouter(prefix="/auth", tags=["auth"])


class SignIn(BaseModel):
    """The address and password of a user."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"email": "anna@example.com", "password": "correct horse battery"}
        },
    )

    email: Annotated[str, Field(min_length=3, max_length=254)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_LENGTH)]


class IssuedToken(BaseModel):
    """A token for the header `Authorization: Bearer …`."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: Annotated[int, Field(description="seconds")]


@router.post("/token", summary="Sign in", operation_id="sign_in")
def create_token(
    body: SignIn, request: Request, context: Annotated[ApiContext, Depends(api_context)]
) -> IssuedToken:
    """Return a token for a user's address and password."""
    signed_in = sign_in(
        context.engine,
        context.tokens,
        body.email,
        body.password.get_secret_value(),
        caller_address(request),
    )
    return IssuedToken(access_token=signed_in.token, expires_in=signed_in.expires_in_seconds)


@router.delete(
    "/token",
    summary="Sign out everywhere",
    operation_id="sign_out",
    status_code=HTTPStatus.NO_CONTENT,
)
def delete_token(caller: AnyCaller, context: Annotated[ApiContext, Depends(api_context)]) -> None:
    """Refuse every token that was issued to you until now; API keys stay valid, and cannot ask."""
    if caller.api_key is not None:
        raise RefusedRequestError(
            HTTPStatus.FORBIDDEN,
            "missing_scope",
            "A user signs out with a token; an API key is revoked by DELETE /api/v1/api-keys.",
        )
    with transaction(context.engine) as session:
        sign_out(session, caller.user.id)
    with transaction(caller.engine) as session:
        caller.record(session, "auth.sign_out")
