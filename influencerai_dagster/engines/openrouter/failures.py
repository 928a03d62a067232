"""Turn OpenRouter's failures into our errors: transient, permanent, or perhaps billed.

Follows openrouter.ai/docs/api/errors: an error has a code, a message and metadata, whose
`error_type` is the same for every provider and decides first. It comes with its HTTP status,
or, once a model has begun to write, inside a body with status 200.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from influencerai_dagster.errors import PermanentError, TransientError

_WHAT_TO_DO = {
    400: "the request is malformed or the model cannot do this: check the model's name",
    401: "the key is missing, wrong or disabled: set OPENROUTER_API_KEY",
    402: "no credits are left: add some at openrouter.ai, or raise the limit of the key",
    403: "the key may not use this model, or its budget is spent: see openrouter.ai/settings/keys",
    404: "there is no such model: check its name at openrouter.ai/models",
    413: "the request is too large: send a smaller image",
}
_TRANSIENT_STATUS = {408, 409, 425, 429}
_CUT_STATUS = {408, 504, 522, 524}
"""A gateway gave up waiting: the model may have gone on, and be billed."""
_TRANSIENT_TYPES = {
    *("rate_limit_exceeded", "provider_overloaded", "provider_unavailable", "server", "timeout"),
}
_REFUSED_TYPES = {
    *("content_policy_violation", "refusal", "invalid_image", "image_too_large"),
    *("image_too_small", "unsupported_image_format"),
}
_SHOWN_CHARACTERS = 300
_MILLISECONDS = 1000


class RateLimitedError(TransientError):
    """OpenRouter asks to wait.

    Attributes:
        retry_after_seconds: how long, None if it did not say.
    """

    def __init__(self, text: str, retry_after_seconds: float | None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class MaybePaidError(TransientError):
    """A request was sent and its answer is lost: it may be billed, so do not repeat it at once."""


class RefusedInputError(PermanentError):
    """The model refuses this one input; others are not affected."""


class TokensSpentError(PermanentError):
    """The model used all its tokens before it wrote a word.

    Attributes:
        cost_usd: what that cost.
    """

    def __init__(self, text: str, cost_usd: float) -> None:
        super().__init__(text)
        self.cost_usd = cost_usd


def refusal(
    status: int, headers: Mapping[str, str], text: str, *, what: str
) -> TransientError | PermanentError:
    """Return the error that an answer with a status of 400 or more means.

    Args:
        status: of HTTP.
        headers: of the answer.
        text: its body.
        what: the call, for the error's text.
    """
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    wait = _retry_after_seconds(headers.get("Retry-After"))
    return failure(error or text, what=what, status=status, retry_after_seconds=wait)


def failure(
    error: object, *, what: str, status: int | None = None, retry_after_seconds: float | None = None
) -> TransientError | PermanentError:
    """Return our error for one of OpenRouter's.

    Args:
        error: the object with code, message and metadata; some providers give a text only.
        what: the call.
        status: of HTTP; None if the error came inside an answer with status 200.
        retry_after_seconds: how long it asks to wait.
    """
    found = error if isinstance(error, dict) else {"message": error}
    metadata = found.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    error_type = str(metadata.get("error_type") or "")
    stated = status or _code(found.get("code"))
    code = stated or _code_of_text(found.get("message"))
    with_code = f" with {stated}" if stated else ""
    text = f"{what} failed{with_code}: {shown(str(found.get('message') or found))}"
    wait = _reset_seconds(metadata) if retry_after_seconds is None else retry_after_seconds
    if _is_to_wait(code, error_type, retry_after_seconds):
        asks = "" if wait is None else f"; it asks to wait {round(wait, 1):.15g} s"
        return RateLimitedError(f"{text}{asks}", wait)
    if error_type in _REFUSED_TYPES or metadata.get("reasons") or metadata.get("flagged_input"):
        return RefusedInputError(f"{text}{_reasons(metadata)} (the input was refused)")
    if code in _CUT_STATUS:
        return MaybePaidError(f"{text}; it may be billed all the same")
    is_server_error = code >= httpx.codes.INTERNAL_SERVER_ERROR
    if error_type in _TRANSIENT_TYPES or code in _TRANSIENT_STATUS or is_server_error:
        return TransientError(text)
    return PermanentError(f"{text} ({_what_to_do(code, metadata)})")


def shown(text: str) -> str:
    """Return the beginning of a text, in one line."""
    line = " ".join(text.split())
    return f"{line[:_SHOWN_CHARACTERS]}…" if len(line) > _SHOWN_CHARACTERS else line or "(nothing)"


def _is_to_wait(code: int, error_type: str, retry_after_seconds: float | None) -> bool:
    # 402 with Retry-After: too much is in flight for the credits, and will be settled.
    is_in_flight = code == httpx.codes.PAYMENT_REQUIRED and retry_after_seconds is not None
    is_limited = code == httpx.codes.TOO_MANY_REQUESTS or error_type == "rate_limit_exceeded"
    return is_in_flight or is_limited


def _what_to_do(code: int, metadata: Mapping[str, Any]) -> str:
    known = _WHAT_TO_DO.get(code, "it refused the request")
    if metadata.get("limit_source") == "openrouter_key_limit":
        known = "the limit of the key is reached: raise it at openrouter.ai/settings/keys"
    if metadata.get("limit_usd") is not None:
        spent, limit = metadata.get("spend_usd", "all"), metadata["limit_usd"]
        known = f"the budget is spent, {spent} of {limit} USD: raise it at openrouter.ai"
    resets_at = metadata.get("resets_at")
    return f"{known}; it resets at {resets_at}" if resets_at else known


def _reasons(metadata: Mapping[str, Any]) -> str:
    reasons = metadata.get("reasons")
    return f", because of {', '.join(map(str, reasons))}" if isinstance(reasons, list) else ""


def _code(value: object) -> int | None:
    """Read a code, which some providers write as a text."""
    try:
        return int(str(value))
    except ValueError:
        return None


def _code_of_text(message: object) -> int:
    """Return a code for an error that has none: that of the few texts that say it."""
    text = str(message).lower()
    if "insufficient credits" in text or "out of credits" in text:
        return httpx.codes.PAYMENT_REQUIRED
    return httpx.codes.BAD_GATEWAY


def _retry_after_seconds(value: str | None) -> float | None:
    """Read seconds or an HTTP date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None


def _reset_seconds(metadata: Mapping[str, Any]) -> float | None:
    """Read when a limit of requests ends: a Unix time in ms that free models have."""
    headers = metadata.get("headers")
    reset_ms = _code(headers.get("X-RateLimit-Reset")) if isinstance(headers, dict) else None
    if reset_ms is None:
        return None
    return max(0.0, round(reset_ms / _MILLISECONDS - datetime.now(UTC).timestamp()))
