"""Ask language and vision models at OpenRouter about texts and images.

The caller knows the tenant, with its budget and its cache. http.py sends requests, answers.py and
failures.py parse what comes back.
Follows openrouter.ai/docs/api-reference/chat-completion.
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_attempt,
)

from influencerai_dagster.engines.openrouter.answers import Completion, read_completion
from influencerai_dagster.engines.openrouter.failures import (
    MaybePaidError,
    RateLimitedError,
    TokensSpentError,
    refusal,
)
from influencerai_dagster.engines.openrouter.http import HttpAnswer, OpenRouterConnection
from influencerai_dagster.errors import PermanentError, TransientError

DEFAULT_BASE_URL = "https://openrouter.ai/api/v1"
TIMEOUT_SECONDS = 120.0
RETRY_DELAYS_SECONDS = (1.0, 4.0)
MAX_WAIT_SECONDS = 60.0
THINKING_ROOM = 16
"""How many times its tokens a model gets that spent them on thinking."""

Message = Mapping[str, Any]
_log = logging.getLogger(__name__)


def image_message(text: str, image: bytes, *, media_type: str) -> Message:
    """Return a user's message with an image, sent as a data URI.

    Args:
        text: what is asked about it.
        image: the file's bytes.
        media_type: such as "image/jpeg".
    """
    uri = f"data:{media_type};base64,{base64.b64encode(image).decode('ascii')}"
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": uri}}]
    return {"role": "user", "content": parts}


class OpenRouterClient:
    """Asks models, and retries transient failures; safe between threads."""

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
            api_key: OPENROUTER_API_KEY; blanks around it are left out.
            base_url: OPENROUTER_BASE_URL.
            timeout_seconds: of one attempt, until its answer is whole.
            retry_delays_seconds: the wait before each further attempt after a passing failure;
                a longer Retry-After wins, up to a minute.
            sleep: waits; tests replace it.

        Raises:
            PermanentError: there is no key, or it cannot be one.
        """
        self._connection = OpenRouterConnection(api_key, base_url, timeout_seconds)
        self._retry_delays_seconds = retry_delays_seconds
        self._sleep = sleep
        self._thinking: set[str] = set()

    def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        max_tokens: int,
        temperature: float | None = None,
    ) -> Completion:
        """Return a model's answer.

        A model that spends its tokens on thinking is asked once more with many more of them.

        Raises:
            TransientError: still rate limited or away after the last attempt.
            MaybePaidError: an answer was lost; it is not asked for again, because it may be billed.
            RefusedInputError: the model does not answer this input.
            PermanentError: wrong key, no credits, unknown model; or it only thinks.
        """
        body: dict[str, Any] = {"model": model, "messages": list(messages)}
        if temperature is not None:
            body["temperature"] = temperature
        if model in self._thinking:
            return self._ask_for_much(body, max_tokens)
        try:
            return self._ask({**body, "max_tokens": max_tokens})
        except TokensSpentError as error:
            _log.info("%s; it gets %d times as many from now on", error, THINKING_ROOM)
            self._thinking.add(model)
            completion = self._ask_for_much(body, max_tokens)
            return replace(completion, cost_usd=(completion.cost_usd or 0.0) + error.cost_usd)

    def _ask_for_much(self, body: Mapping[str, Any], max_tokens: int) -> Completion:
        try:
            return self._ask({**body, "max_tokens": THINKING_ROOM * max_tokens})
        except TokensSpentError as error:
            raise PermanentError(f"{error}: choose another model") from error

    def _ask(self, body: Mapping[str, Any]) -> Completion:
        what = f"OpenRouter ({body['model']})"

        def attempt() -> Completion:
            answer = self._send("POST", "/chat/completions", what=what, json=body)
            return read_completion(answer.text, what=what)

        return self._retried(attempt)

    def check(self) -> None:
        """Ask for the status of our key, which costs nothing.

        Raises:
            TransientError: OpenRouter is away.
            PermanentError: it does not take the key.
        """
        self._send("GET", "/key", what="OpenRouter (the key's status)")

    def _send(self, method: str, path: str, *, what: str, json: object = None) -> HttpAnswer:
        answer = self._connection.send(method, path, what=what, json=json)
        if answer.status != httpx.codes.OK:
            raise refusal(answer.status, answer.headers, answer.text, what=what)
        return answer

    def _retried(self, attempt: Callable[[], Completion]) -> Completion:
        retrying = Retrying(
            retry=retry_if_exception(_is_worth_retrying),
            wait=self._wait_seconds,
            stop=stop_after_attempt(len(self._retry_delays_seconds) + 1),
            before_sleep=before_sleep_log(_log, logging.INFO),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(attempt)

    def _wait_seconds(self, state: RetryCallState) -> float:
        """Return the delay before the next attempt; a longer Retry-After wins."""
        delays = (*self._retry_delays_seconds, 0.0)  # after the last attempt nothing waits
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, RateLimitedError) else None
        return max(delays[state.attempt_number - 1], asked or 0.0)


def _is_worth_retrying(error: BaseException) -> bool:
    if isinstance(error, RateLimitedError):
        # After a longer wait the run's own retry asks again.
        return (error.retry_after_seconds or 0.0) <= MAX_WAIT_SECONDS
    return isinstance(error, TransientError) and not isinstance(error, MaybePaidError)
