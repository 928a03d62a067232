"""Serve the routes of prompts: submit, queue, history, interrupt, free."""

import json
import uuid
from typing import Any

from aiohttp import web

from influencerai_dagster.simulators.comfyui.server_state import STATE
from influencerai_dagster.simulators.comfyui.validation import validate_prompt

routes = web.RouteTableDef()


async def _json(request: web.Request) -> Any:  # noqa: ANN401 - whatever a client sent
    return json.loads(await request.text())


@routes.get("/prompt")
async def queue_size(request: web.Request) -> web.Response:
    """Return how many prompts are queued or running."""
    return web.json_response(request.app[STATE].greeting())


@routes.post("/prompt")
async def submit(request: web.Request) -> web.Response:
    """Validate and queue a prompt; a body that is not JSON is 500, an invalid prompt 400."""
    state = request.app[STATE]
    body = await _json(request)
    if "number" in body:
        number: float = float(body["number"])
    else:
        number = state.queue.next_number()
        if isinstance(body, dict) and body.get("front"):
            number = -number
    if "prompt" not in body:
        text = "No prompt provided"
        error = {"type": "no_prompt", "message": text, "details": text, "extra_info": {}}
        return web.json_response({"error": error, "node_errors": {}}, status=400)
    prompt = body["prompt"]
    prompt_id = str(body.get("prompt_id", uuid.uuid4()))
    validation = validate_prompt(prompt, state.folders)
    extra_data = body.get("extra_data", {})
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    if validation.error is not None:
        answer = {"error": validation.error, "node_errors": validation.node_errors}
        return web.json_response(answer, status=400)
    state.statistics.count("posted", prompt_id)
    state.queue.put((number, prompt_id, prompt, extra_data, validation.outputs))
    accepted = {"prompt_id": prompt_id, "number": number, "node_errors": validation.node_errors}
    return web.json_response(accepted)


@routes.get("/queue")
async def queue(request: web.Request) -> web.Response:
    """List running and pending prompts with all they carry."""
    return web.json_response(request.app[STATE].queue.listing())


@routes.post("/queue")
async def change_queue(request: web.Request) -> web.Response:
    """Clear pending prompts or delete some; the running one goes on."""
    body = await _json(request)
    if body.get("clear"):
        request.app[STATE].queue.clear()
    for prompt_id in body.get("delete", []):
        request.app[STATE].queue.delete(prompt_id)
    return web.Response()


@routes.get("/history")
async def history(request: web.Request) -> web.Response:
    """List finished prompts; a `max_items` that is not a number is 500."""
    max_items = request.query.get("max_items")
    offset = int(request.query.get("offset", "-1"))
    found = request.app[STATE].queue.history(None if max_items is None else int(max_items), offset)
    return web.json_response(found)


@routes.get("/history/{prompt_id}")
async def history_of(request: web.Request) -> web.Response:
    """Return one finished prompt; `{}` for running, pending, deleted and unknown ones alike."""
    return web.json_response(request.app[STATE].queue.history_of(request.match_info["prompt_id"]))


@routes.post("/history")
async def change_history(request: web.Request) -> web.Response:
    """Clear history or delete some of it."""
    body = await _json(request)
    if body.get("clear"):
        request.app[STATE].queue.clear_history()
    request.app[STATE].queue.delete_history(body.get("delete", []))
    return web.Response()


@routes.post("/interrupt")
async def interrupt(request: web.Request) -> web.Response:
    """Stop the running prompt: whichever it is without a prompt_id, otherwise that one."""
    state = request.app[STATE]
    try:
        body = await _json(request)
    except ValueError:
        body = {}
    prompt_id = body.get("prompt_id")
    if not prompt_id or state.queue.is_running(prompt_id):
        state.executor.interrupt.set()
    return web.Response()


@routes.post("/free")
async def free(request: web.Request) -> web.Response:
    """Unload models or forget cached results before the next prompt."""
    state = request.app[STATE]
    body = await _json(request)
    state.statistics.free_requests += 1
    if body.get("free_memory"):
        state.executor.free_memory.set()
    return web.Response()
