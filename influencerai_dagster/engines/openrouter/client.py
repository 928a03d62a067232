"""Asks language and vision models at OpenRouter: text, structured output, pictures.

Budgets and caching are not here: who calls knows the tenant. What answers mean is in answers.py.
Follows openrouter.ai/docs/api-reference/chat-completion and its guide "Structured Outputs".
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from influencerai_dagster.engines.openrouter.answers import (
    Completion,
    RateLimitedError,
    read_completion,
    refusal,
)
from influencerai_dagster.errors import PermanentError, TransientError

DEFAULT_BASE_URL = "https://openrouter.ai/api/v1"
TIMEOUT_SECONDS = 120.0
RETRY_DELAYS_SECONDS = (1.0, 4.0)
MAX_WAIT_SECONDS = 60.0

Message = Mapping[str, Any]
Answer = TypeVar("Answer", bound=BaseModel)
_logger = logging.getLogger(__name__)


def text_message(role: Literal["system", "user", "assistant"], text: str) -> Message:
    """Return a message of text only."""
    return {"role": role, "content": text}


def image_message(text: str, image: bytes, *, media_type: str) -> Message:
    """Return a user's message with a picture, sent as a data URI.

    Args:
        text: what is asked about it.
        image: the file's bytes.
        media_type: such as "image/jpeg".
    """
    uri = f"data:{media_type};base64,{base64.b64encode(image).decode('ascii')}"
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": uri}}]
    return {"role": "user", "content": parts}


class OpenRouterClient:
    """A pool of connections, safe between threads; the key is in no error text."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make the client; nothing is sent yet.

        Args:
            api_key: OPENROUTER_API_KEY.
            base_url: OPENROUTER_BASE_URL.
            timeout_seconds: of one attempt.
            retry_delays_seconds: the wait before each further attempt after a passing failure;
                a longer Retry-After wins, up to a minute.
            sleep: waits; tests replace it.

        Raises:
            PermanentError: there is no key.
        """
        if not api_key:
            raise PermanentError("OPENROUTER_API_KEY is not set: OpenRouter cannot be asked")
        self._base_url = base_url.rstrip("/")
        self._retry_delays_seconds = retry_delays_seconds
        self._sleep = sleep
        self._client = httpx.Client(
            timeout=timeout_seconds,
            headers={"Authorization": f"Bearer {api_key}", "X-Title": "InfluencerAI"},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        max_tokens: int,
        temperature: float | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Return a model's answer.

        Raises:
            TransientError: still rate limited, away or without an answer after the last attempt.
            PermanentError: wrong key, no credits, unknown model, refused input.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "usage": {"include": True},
        }
        if temperature is not None:
            body["temperature"] = temperature
        if response_format is not None:
            body["response_format"] = response_format
            body["provider"] = {"require_parameters": True}  # not one that ignores the schema
        what = f"OpenRouter ({model})"
        return self._retried(
            lambda: read_completion(
                self._send("POST", "/chat/completions", what=what, json=body), what=what
            )
        )

    def complete_as(
        self,
        answer: type[Answer],
        messages: Sequence[Message],
        *,
        model: str,
        max_tokens: int,
        temperature: float | None = None,
    ) -> tuple[Answer, Completion]:
        """Return a model's answer in the form of a pydantic model, and what it cost.

        Raises:
            TransientError: as in `complete`, or the answer has another form.
            PermanentError: as in `complete`.
        """
        schema = {"name": answer.__name__, "strict": True, "schema": answer.model_json_schema()}
        completion = self.complete(
            messages,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            response_format={"type": "json_schema", "json_schema": schema},
        )
        try:
            return answer.model_validate_json(completion.text), completion
        except ValidationError as error:
            cut = (
                f" (cut off at {max_tokens} tokens)" if completion.finish_reason == "length" else ""
            )
            first = error.errors()[0]
            raise TransientError(
                f"OpenRouter ({completion.model}) did not write a {answer.__name__}{cut}: "
                f"{first['msg']} at {'.'.join(map(str, first['loc'])) or 'the start'}"
            ) from error

    def check(self) -> None:
        """Ask about our key, which costs nothing.

        Raises:
            TransientError: OpenRouter is away.
            PermanentError: it does not take the key.
        """
        self._send("GET", "/key", what="OpenRouter (the key's status)")

    def _send(self, method: str, path: str, *, what: str, json: object = None) -> httpx.Response:
        try:
            response = self._client.request(method, f"{self._base_url}{path}", json=json)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise PermanentError(f"OPENROUTER_BASE_URL cannot be used: {error}") from error
        except httpx.TimeoutException as error:
            raise TransientError(f"{what} did not answer in time at {self._base_url}") from error
        except httpx.TransportError as error:
            raise TransientError(f"{what} is not reached at {self._base_url}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise refusal(response, what=what)
        return response

    def _retried(self, attempt: Callable[[], Completion]) -> Completion:
        for delay_seconds in self._retry_delays_seconds:
            try:
                return attempt()
            except TransientError as error:
                wait_seconds = delay_seconds
                if isinstance(error, RateLimitedError):
                    wait_seconds = max(wait_seconds, error.retry_after_seconds or 0.0)
                if wait_seconds > MAX_WAIT_SECONDS:
                    raise  # the run's own retry waits for longer
                _logger.info("%s; trying again in %g s", error, wait_seconds)
                self._sleep(wait_seconds)
        return attempt()
