"""Answer every error as problem+json with a stable `code`, without inner details.

Follows RFC 9457. Texts of the database, addresses of servers and tracebacks go to the log, under
the request id that the caller gets.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from influencerai_dagster.core.names import shown_value
from influencerai_dagster.errors import PermanentError, TransientError

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 5
_MAX_FIELDS = 50
_MAX_NAME_CHARS = 100
_HIDDEN = ("password", "secret", "token")
_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
}
_log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """One field that cannot be used.

    Attributes:
        field: where it is, "body.jobs.0.prompt".
        found: its value, shortened.
        allowed: what is allowed.
    """

    field: str
    found: str
    allowed: str


class Problem(BaseModel):
    """An error.

    Attributes:
        type: always about:blank, as `code` says more.
        title: the words of the status.
        code: stable, for programs.
        detail: for people: what was tried, what was found, what to do.
        request_id: names the request in the log.
        errors: the fields that cannot be used.
    """

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = None


class RefusedRequestError(PermanentError):
    """A request that is answered with a problem.

    Attributes:
        status: of HTTP.
        code: of the problem.
        headers: of the response.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers


def not_found(what: str) -> RefusedRequestError:
    """Return the error for an object that the tenant does not have; another tenant's is the same.

    Args:
        what: the object, "job 3f…".
    """
    return RefusedRequestError(HTTPStatus.NOT_FOUND, "not_found", f"You have no {what}.")


def problem_response(  # noqa: PLR0917 - the parts of one answer
    request_id: str,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> JSONResponse:
    """Return the response of a problem."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=request_id,
        errors=errors,
    )
    return JSONResponse(
        _encodable(problem.model_dump(mode="python", exclude_none=True)),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def _encodable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON in which half characters (lone surrogates), which UTF-8 has not, are escaped."""
    if isinstance(value, dict):
        return {name: _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def add_handlers(app: FastAPI) -> None:
    """Let an application answer errors as problems."""
    app.add_exception_handler(RequestValidationError, _bad_fields)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RefusedRequestError, _refused)
    app.add_exception_handler(PermanentError, _permanent)
    app.add_exception_handler(TransientError, _transient)


def _bad_fields(request: Request, error: Exception) -> JSONResponse:
    found: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    if found and found[0]["type"] == "json_invalid":
        return problem_response(
            request.state.request_id,
            HTTPStatus.BAD_REQUEST,
            "invalid_json",
            "The body cannot be read as JSON. Send one JSON object in UTF-8.",
        )
    errors = [_field_problem(item) for item in found[:_MAX_FIELDS]]
    fields = ", ".join(item.field for item in errors[:5])
    return problem_response(
        request.state.request_id,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid_fields",
        f"The request cannot be used: {fields}. `errors` says what was found and what is allowed.",
        errors=errors,
    )


def _field_problem(item: Any) -> FieldProblem:  # noqa: ANN401 - pydantic's ErrorDetails
    location = [str(part)[:_MAX_NAME_CHARS] for part in item["loc"]]
    is_hidden = len(location) == 1 or any(word in location[-1].lower() for word in _HIDDEN)
    is_missing = item["type"] == "missing"
    found = "nothing" if is_missing else "(hidden)" if is_hidden else shown_value(item["input"])
    return FieldProblem(field=".".join(location), found=found, allowed=item["msg"])


def _http_error(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = _allow(request) or headers
    return problem_response(
        request.state.request_id,
        status,
        _CODES.get(HTTPStatus(status), "bad_request"),
        f"{request.method} {request.url.path[:200]}: {HTTPStatus(status).description}",
        headers,
    )


def _allow(request: Request) -> dict[str, str]:
    """Return `Allow` with every method of a path: Starlette names those of one route alone."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    methods = {
        method.upper()
        for template, operations in paths.items()
        for method in operations
        if re.fullmatch(re.sub(r"\\{[^/]+\\}", "[^/]+", re.escape(template)), request.url.path)
    }
    return {"Allow": ", ".join(sorted(methods))} if methods else {}


def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RefusedRequestError):
        raise error
    return problem_response(
        request.state.request_id, error.status, error.code, str(error), error.headers
    )


def _permanent(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error.__cause__, SQLAlchemyError):  # its text is PostgreSQL's, and names tables
        return internal_error(request.state.request_id, error)
    return problem_response(
        request.state.request_id, HTTPStatus.UNPROCESSABLE_ENTITY, "refused", str(error)
    )


def _transient(request: Request, error: Exception) -> JSONResponse:
    _log.warning("request %s: %s", request.state.request_id, error)
    return problem_response(
        request.state.request_id,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "A server that this needs does not answer now. Nothing is lost: send it again.",
        {"Retry-After": str(_RETRY_SECONDS)},
    )


def internal_error(request_id: str, error: BaseException) -> JSONResponse:
    """Log an error that should not happen, and return the response that names the request alone."""
    _log.error("request %s failed", request_id, exc_info=error)
    return problem_response(
        request_id,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        f"Something went wrong here. Tell your operator the request id {request_id}.",
    )
