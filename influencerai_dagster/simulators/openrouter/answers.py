"""Answer as the simulated models: the same answer to the same request, marked SIMULATED.

HTTP is in server.py.
"""

import base64
import hashlib
import io
import json
from typing import Any

MARK = "SIMULATED"
COST_PER_TOKEN_USD = 1e-6
_TOKENS_PER_IMAGE = 258
_CHARACTERS_PER_TOKEN = 4
_POSES = ("standing", "sitting", "walking", "leaning forward", "looking over the shoulder")
_LIGHTS = ("soft daylight", "warm evening light", "studio light", "window light")


def answer_to(request: dict[str, Any]) -> tuple[str, int]:
    """Return what a model writes, and how many tokens the request had.

    Args:
        request: the body of /chat/completions, already checked for its messages.

    Raises:
        ValueError: an image that cannot be decoded.
    """
    texts, images = _parts(request["messages"])
    prompt_tokens = sum(len(text) // _CHARACTERS_PER_TOKEN + 1 for text in texts)
    prompt_tokens += _TOKENS_PER_IMAGE * len(images)
    response_format = request.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        schema = response_format["json_schema"]["schema"]
        return json.dumps(example_of(schema, schema)), prompt_tokens
    digest = hashlib.sha256("".join([*texts, *images]).encode()).digest()
    if images:
        pose, light = _POSES[digest[0] % len(_POSES)], _LIGHTS[digest[1] % len(_LIGHTS)]
        seen = "; ".join(_look_at(image) for image in images)
        return f"{MARK} caption: a person {pose} in {light}, {seen}", prompt_tokens
    return f"{MARK} answer {digest.hex()[:8]}", prompt_tokens


def example_of(schema: dict[str, Any], root: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """Return a value that a JSON schema (as pydantic writes it) allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(root["$defs"][name], root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], root)
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: example_of(part, root) for name, part in properties.items()}
    if kind == "array":
        return [example_of(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
    return _scalar(kind, schema)


def _scalar(kind: str | None, schema: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("maximum", 1))
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = f"{MARK} {schema.get('title', 'text').lower()}"
    return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), ".")


def _parts(messages: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    images: list[str] = []
    for message in messages:
        content = message["content"]
        parts: list[dict[str, Any]] = content
        if isinstance(content, str):
            parts = [{"type": "text", "text": content}]
        for part in parts:
            if part["type"] == "image_url":
                images.append(part["image_url"]["url"])
            else:
                texts.append(part["text"])
    return texts, images


def _look_at(uri: str) -> str:
    """Describe size and mean colour of a data URI, which proves that the image has arrived."""
    from PIL import Image  # noqa: PLC0415 - only where an image is asked about

    head, _, data = uri.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise ValueError("Only data:image/…;base64 URIs are supported by the simulator")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            red, green, blue = image.convert("RGB").resize((1, 1)).tobytes()
            return f"{image.width}×{image.height} px, mostly rgb({red}, {green}, {blue})"
    except OSError as error:
        raise ValueError(f"The image cannot be decoded: {error}") from error
