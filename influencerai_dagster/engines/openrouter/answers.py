"""Parse completions of OpenRouter; its failures are in failures.py.

An answer is paid for, so its text is read whatever else in it is missing, null or of another type.
Follows openrouter.ai/docs/api-reference/chat-completion.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from influencerai_dagster.engines.openrouter.failures import (
    MaybePaidError,
    RefusedInputError,
    TokensSpentError,
    failure,
    shown,
)
from influencerai_dagster.errors import TransientError

_COMMENTS = re.compile(r"\A\ufeff?(?:\s*:[^\n]*\n)*")
"""A byte order mark, and lines like ": OPENROUTER PROCESSING" that keep a connection alive."""


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Attributes:
        generation_id: what OpenRouter calls the call; its activity page finds it.
        model: which model answered; a router may choose.
        finish_reason: "stop", or "length" if max_tokens cut it off.
        cost_usd: what was charged, by OpenRouter and on a key of one's own at the provider; None if
            the answer does not say.
    """

    text: str
    generation_id: str
    model: str
    finish_reason: str
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int


def read_completion(body: str, *, what: str) -> Completion:
    """Return the model's answer.

    Args:
        body: of an answer with status 200.
        what: the call, for error texts.

    Raises:
        TransientError: the model failed, or has not begun; nothing was charged.
        MaybePaidError: the body cannot be read.
        RefusedInputError: the model does not answer this input.
        TokensSpentError: it used all its tokens before it wrote a word.
        PermanentError: the request was refused after all.
    """
    try:
        answer = json.loads(_COMMENTS.sub("", body))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise MaybePaidError(f"{what} answered something other than a completion: {shown(body)}")
    choices = answer.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = _mapping(choice.get("message"))
    finish_reason = str(choice.get("finish_reason") or "")
    error = answer.get("error") or choice.get("error")
    text = _text(message.get("content")).strip()
    if error or finish_reason == "error":
        raise failure(error or "the model ended with an error", what=what)
    usage = _mapping(answer.get("usage"))
    completion = Completion(
        text=text,
        generation_id=str(answer.get("id") or ""),
        model=str(answer.get("model") or ""),
        finish_reason=finish_reason,
        cost_usd=_cost(usage),
        prompt_tokens=int(_number(usage.get("prompt_tokens")) or 0),
        completion_tokens=int(_number(usage.get("completion_tokens")) or 0),
    )
    refused = _text(message.get("refusal"))
    if refused or finish_reason == "content_filter":
        raise RefusedInputError(f"{what} refused the input: {shown(refused or finish_reason)}")
    if not text:
        raise _without_text(completion, what)
    return completion


def _without_text(completion: Completion, what: str) -> Exception:
    if completion.finish_reason == "length":
        text = (
            f"{what} used all its {completion.completion_tokens} tokens before it wrote a word, as "
            "models that think do"
        )
        return TokensSpentError(text, completion.cost_usd or 0.0)
    if completion.completion_tokens or completion.cost_usd:
        return RefusedInputError(f"{what} returned an empty answer and gave no reason")
    return TransientError(f"{what} answered without any text; the model may be starting up")


def _text(content: object) -> str:
    """Return a message's text, which may come in parts."""
    if isinstance(content, list):
        return "".join(_text(_mapping(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""


def _cost(usage: Mapping[str, Any]) -> float | None:
    upstream = _number(_mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    cost = _number(usage.get("cost"))
    if cost is None or not usage.get("is_byok"):
        return cost
    return cost + (upstream or 0.0)


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None  # JSON of Python's has NaN and Infinity


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
