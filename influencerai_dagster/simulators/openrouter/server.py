"""Serve the HTTP of OpenRouter: /api/v1/chat/completions, /models, /key, and faults.

What the models say is in answers.py. Follows openrouter.ai/docs/api-reference; an error has the
shape {"error": {"code", "message"}}, and may come with status 200 once a model was asked.
"""

import asyncio
import time
from dataclasses import dataclass, field, fields, replace
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from aiohttp import web

from influencerai_dagster.simulators.browsers import refuse_pages
from influencerai_dagster.simulators.openrouter.answers import COST_PER_TOKEN_USD, MARK, answer_to

MAX_BODY_BYTES = 50 * 1024**2
MODELS = ("google/gemini-2.5-flash", "openai/gpt-4o-mini", "meta-llama/llama-3.3-70b-instruct")


@dataclass(frozen=True)
class AnswerFaults:
    """What goes wrong; 0, "" and False are nothing.

    Attributes:
        status: the next `count` calls fail with this status.
        count: how many calls are hit by `status`, `is_malformed` or `is_late_error`.
        retry_after_seconds: sent with a 429.
        is_malformed: the body is not JSON.
        is_late_error: the error comes in a body with status 200.
        is_empty: the model writes nothing.
        delay_seconds: before every answer.
        api_key: the only key that is taken; "" takes any.
    """

    status: int = 0
    count: int = 0
    retry_after_seconds: int = 0
    is_malformed: bool = False
    is_late_error: bool = False
    is_empty: bool = False
    delay_seconds: float = 0.0
    api_key: str = ""


@dataclass
class _State:
    faults: AnswerFaults
    calls: list[dict[str, Any]] = field(default_factory=list)

    def take_fault(self) -> AnswerFaults:
        """Return the faults of this call, and count it off."""
        if self.faults.count == 0:
            return AnswerFaults(delay_seconds=self.faults.delay_seconds)
        current, self.faults = self.faults, replace(self.faults, count=self.faults.count - 1)
        return current


_STATE = web.AppKey("state", _State)


def make_app(faults: AnswerFaults) -> web.Application:
    """Return the server's application."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[refuse_pages])
    app[_STATE] = _State(faults)
    app.router.add_get("/api/v1/models", _models)
    app.router.add_get("/api/v1/key", _key)
    app.router.add_post("/api/v1/chat/completions", _complete)
    app.router.add_get("/simulator/calls", _calls)
    app.router.add_post("/simulator/faults", _set_faults)
    return app


def _error(status: int, message: str, *, code: int | None = None) -> web.Response:
    body = {"error": {"code": code or status, "message": message}, "user_id": MARK}
    return web.json_response(body, status=status)


def _is_refused(request: web.Request) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    wanted = request.app[_STATE].faults.api_key
    return scheme != "Bearer" or not key or bool(wanted and key != wanted)


async def _models(_: web.Request) -> web.Response:
    price = {"prompt": str(COST_PER_TOKEN_USD), "completion": str(COST_PER_TOKEN_USD)}
    models = [{"id": name, "name": f"{name} ({MARK})", "pricing": price} for name in MODELS]
    return web.json_response({"data": models})


async def _key(request: web.Request) -> web.Response:
    if _is_refused(request):
        return _error(HTTPStatus.UNAUTHORIZED, "User not found.")
    return web.json_response({"data": {"label": MARK, "limit": None, "usage": 0}})


async def _complete(request: web.Request) -> web.Response:
    state = request.app[_STATE]
    if _is_refused(request):
        return _error(HTTPStatus.UNAUTHORIZED, "No auth credentials found")
    body = await request.json()
    state.calls.append(body)
    faults = state.take_fault()
    await asyncio.sleep(faults.delay_seconds)
    if failed := _failed(faults):
        return failed
    model = body.get("model")
    if model not in MODELS:
        return _error(HTTPStatus.BAD_REQUEST, f"{model} is not a valid model ID")
    if not body.get("messages"):
        return _error(HTTPStatus.BAD_REQUEST, 'Input required: specify "prompt" or "messages"')
    try:
        text, prompt_tokens = answer_to(body)
    except ValueError as error:
        return _error(HTTPStatus.BAD_REQUEST, str(error))
    return web.json_response(_completion(model, text, prompt_tokens, body.get("max_tokens")))


def _failed(faults: AnswerFaults) -> web.Response | None:
    if faults.is_malformed:
        return web.Response(text="<html>upstream gateway</html>", content_type="text/html")
    if faults.is_late_error:
        code = faults.status or HTTPStatus.BAD_GATEWAY
        return _error(HTTPStatus.OK, f"{MARK} provider error", code=code)
    if faults.is_empty:
        return web.json_response(_completion(MODELS[0], "", 1, None))
    if faults.status:
        response = _error(faults.status, f"{MARK} fault")
        if faults.retry_after_seconds:
            response.headers["Retry-After"] = str(faults.retry_after_seconds)
        return response
    return None


def _completion(
    model: str, text: str, prompt_tokens: int, max_tokens: int | None
) -> dict[str, Any]:
    words = text.split(" ")
    is_cut = max_tokens is not None and len(words) > max_tokens
    text = " ".join(words[:max_tokens])
    completion_tokens = min(len(words), max_tokens or len(words)) if text else 0
    finish_reason = "length" if is_cut else "stop"
    return {
        "id": f"gen-{uuid4().hex}",
        "provider": MARK,
        "model": model,
        "object": "chat.completion",
        "created": int(time.time()),
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "native_finish_reason": finish_reason.upper(),
                "message": {"role": "assistant", "content": text, "refusal": None},
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            # Nothing is charged for an answer without tokens.
            "cost": (prompt_tokens + completion_tokens) * COST_PER_TOKEN_USD if text else 0,
        },
    }


async def _calls(request: web.Request) -> web.Response:
    return web.json_response(request.app[_STATE].calls)


async def _set_faults(request: web.Request) -> web.Response:
    changes = await request.json()
    unknown = set(changes) - {item.name for item in fields(AnswerFaults)}
    if unknown:
        return _error(HTTPStatus.BAD_REQUEST, f"No such fault: {', '.join(sorted(unknown))}")
    request.app[_STATE].faults = AnswerFaults(**changes)
    return web.json_response({"faults": changes})
