"""What OpenRouter answers, as values, and its failures as our errors; nothing is sent here.

Follows openrouter.ai/docs/api-reference: errors come with their HTTP status, or, once a model has
begun to write, inside a body with status 200.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from influencerai_dagster.errors import PermanentError, TransientError

_WHAT_TO_DO = {
    400: "the request is malformed or the model cannot do this: check the model's name",
    401: "the key is missing, wrong or disabled: set OPENROUTER_API_KEY",
    402: "no credits are left: add some at openrouter.ai, or raise the limit of the key",
    403: "the input was refused by moderation, or the key may not use this model",
    404: "there is no such model: check its name at openrouter.ai/models",
    413: "the request is too large: send a smaller image",
}
_TRANSIENT_STATUS = {408, 409, 425, 429}
_SHOWN_CHARACTERS = 300


class RateLimitedError(TransientError):
    """OpenRouter asks to wait.

    Attributes:
        retry_after_seconds: how long, None if it did not say.
    """

    def __init__(self, text: str, retry_after_seconds: float | None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Attributes:
        generation_id: what OpenRouter calls the call; its activity page finds it.
        model: which model answered; a router may choose.
        finish_reason: "stop", or "length" if max_tokens cut it off.
        cost_usd: what was charged; None if the answer does not say.
    """

    text: str
    generation_id: str
    model: str
    finish_reason: str
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    error: dict[str, Any] | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class _Answer(BaseModel):
    id: str = ""
    model: str = ""
    choices: list[_Choice] = []
    usage: _Usage = _Usage()
    error: dict[str, Any] | None = None


def read_completion(response: httpx.Response, *, what: str) -> Completion:
    """Return the model's answer.

    Args:
        response: with status 200.
        what: the call, for error texts.

    Raises:
        TransientError: the model failed, wrote nothing, or the body cannot be read.
        PermanentError: the request was refused after all.
    """
    try:
        answer = _Answer.model_validate_json(response.content)
    except ValidationError as error:
        raise TransientError(
            f"{what} answered something that is no completion: {_shown(response.text)}"
        ) from error
    failed = answer.error or next((choice.error for choice in answer.choices if choice.error), None)
    if failed is not None:
        raise failure(_status_of(failed), str(failed.get("message", failed)), what=what)
    text = (answer.choices[0].message.content or "").strip() if answer.choices else ""
    if not text:
        raise TransientError(f"{what} answered without any text; the model may be starting up")
    return Completion(
        text=text,
        generation_id=answer.id,
        model=answer.model,
        finish_reason=answer.choices[0].finish_reason or "",
        cost_usd=answer.usage.cost,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
    )


def refusal(response: httpx.Response, *, what: str) -> TransientError | PermanentError:
    """Return the error that a response with a status of 400 or more means."""
    try:
        found = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        found = response.text
    wait = _retry_after_seconds(response.headers.get("Retry-After"))
    return failure(response.status_code, found, what=what, retry_after_seconds=wait)


def failure(
    status: int, found: str, *, what: str, retry_after_seconds: float | None = None
) -> TransientError | PermanentError:
    """Return our error for one of OpenRouter's codes."""
    text = f"{what} failed with {status}: {_shown(found)}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = "" if retry_after_seconds is None else f"; it asks to wait {retry_after_seconds:g} s"
        return RateLimitedError(f"{text}{wait}", retry_after_seconds)
    if status in _TRANSIENT_STATUS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return TransientError(text)
    return PermanentError(f"{text} ({_WHAT_TO_DO.get(status, 'it refused the request')})")


def _status_of(error: dict[str, Any]) -> int:
    code = error.get("code")
    return code if isinstance(code, int) else httpx.codes.BAD_GATEWAY


def _retry_after_seconds(value: str | None) -> float | None:
    """Read seconds or an HTTP date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:_SHOWN_CHARACTERS]}…" if len(line) > _SHOWN_CHARACTERS else line or "(nothing)"
