"""Caption images with a vision model at OpenRouter.

training/captions.py decides which images need one and puts the trigger phrase first.
"""

import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.refused_images import RefusedImage
from influencerai_dagster.engines.openrouter.client import OpenRouterClient, image_message
from influencerai_dagster.engines.openrouter.failures import RefusedInputError

INSTRUCTION = (
    "Write the caption of this image for training a LoRA of the person in it. One plain English "
    "sentence without line breaks: pose, framing, expression, clothing, surroundings, light. Do "
    "not name the person, and leave out what never changes about them: face, eyes, colour of hair."
)
MAX_TOKENS = 120
MAX_SIDE_PX = 1024  # models see nothing finer, and a camera's file would be refused as too large
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_JPEG_QUALITY = 85
_log = logging.getLogger(__name__)


class AnswerCache(Protocol):
    """Answers to earlier requests; called from several threads."""

    def get(self, key: str) -> str | None:
        """Return the answer to the request of this SHA-256, or None."""

    def put(self, key: str, text: str) -> None:
        """Store an answer."""


@dataclass(frozen=True)
class OpenRouterCaptioner:
    """Sentences by a vision model.

    Attributes:
        model: OPENROUTER_CAPTION_MODEL.
        cache: each sentence is stored as soon as it arrives, so that a folder that failed half-way
            is not paid for twice; None stores nothing.
        parallel: requests under way at once.
    """

    client: OpenRouterClient
    model: str
    cache: AnswerCache | None = None
    parallel: int = 4
    instruction: str = INSTRUCTION

    def caption(self, image_dir: Path) -> dict[str, str | RefusedImage]:
        """Return file name → sentence, or why the model does not describe this image.

        Raises:
            PermanentError: OpenRouter refuses us; what was not asked by then is not.
            TransientError: it cannot answer now, after the client's own retries; or the cache
                cannot: what is paid for could not be kept.
        """
        paths = sorted(path for path in image_dir.iterdir() if path.suffix.lower() in _SUFFIXES)
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="captions")
        try:
            sentences = list(pool.map(self._describe, paths))
        finally:
            pool.shutdown(cancel_futures=True)
        paid = [item.cost_usd for item in sentences if item.cost_usd is not None]
        num_refused = sum(isinstance(item.text, RefusedImage) for item in sentences)
        num_hits = len(sentences) - len(paid) - num_refused
        _log.info(
            "%d images for %s: %d answers for %.4f USD, %d cache hits, %d refused",
            *(len(paths), self.model, len(paid), sum(paid), num_hits, num_refused),
        )
        found = zip(paths, sentences, strict=True)
        return {path.name: sentence.text for path, sentence in found if sentence.text}

    def _describe(self, path: Path) -> "_Sentence":
        image = _as_jpeg(path)
        key = self._key(image)
        known = None if self.cache is None else self.cache.get(key)
        if known is not None:
            return _Sentence(known, cost_usd=None)
        message = image_message(self.instruction, image, media_type="image/jpeg")
        try:
            completion = self.client.complete([message], model=self.model, max_tokens=MAX_TOKENS)
        except RefusedInputError as error:
            return _Sentence(RefusedImage(file_name=path.name, why=str(error)), cost_usd=None)
        text = _one_line(completion.text)
        if text and self.cache is not None:
            self.cache.put(key, text)
        return _Sentence(text, completion.cost_usd or 0.0)

    def _key(self, image: bytes) -> str:
        """Return the hash of all that the answer depends on."""
        asked = [self.model, self.instruction, MAX_TOKENS, sha256_hex(image)]
        return sha256_hex(json.dumps(asked).encode())


@dataclass(frozen=True)
class _Sentence:
    """The answer of a model for an image; `cost_usd` is None if nothing was paid for it now."""

    text: str | RefusedImage
    cost_usd: float | None


def _one_line(text: str) -> str:
    return " ".join(text.split()).strip("\"'“” ")


def _as_jpeg(path: Path) -> bytes:
    from PIL import Image, ImageOps  # noqa: PLC0415 - Pillow is not needed to load definitions

    with Image.open(path) as image:
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
        data = io.BytesIO()
        small.save(data, "JPEG", quality=_JPEG_QUALITY)
    return data.getvalue()
