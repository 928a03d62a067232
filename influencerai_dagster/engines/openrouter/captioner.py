"""Writes captions of images by asking a vision model at OpenRouter.

Who decides which images need one, and puts the trigger phrase first, is the captions stage.
"""

import io
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.engines.openrouter.answers import Completion
from influencerai_dagster.engines.openrouter.client import OpenRouterClient, image_message

INSTRUCTION = (
    "Write the caption of this picture for training a LoRA of the person in it. One plain English "
    "sentence without line breaks: pose, framing, expression, clothing, surroundings, light. Do "
    "not name the person, and leave out what never changes about them: face, eyes, colour of hair."
)
MAX_TOKENS = 120
MAX_SIDE_PX = 1024  # models see no more, and a camera's file would be refused as too large
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_JPEG_QUALITY = 85
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenRouterCaptioner:
    """Sentences by a vision model.

    Attributes:
        model: OPENROUTER_CAPTION_MODEL.
        parallel: requests under way at once.
    """

    client: OpenRouterClient
    model: str
    parallel: int = 4
    instruction: str = INSTRUCTION

    def caption(self, image_dir: Path) -> dict[str, str]:
        """Return file name → sentence.

        Raises:
            PermanentError: OpenRouter refuses; what was not asked by then is not.
            TransientError: it cannot answer now, after the client's own retries.
        """
        paths = sorted(path for path in image_dir.iterdir() if path.suffix.lower() in _SUFFIXES)
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="captions")
        try:
            completions = list(pool.map(self._describe, paths))
        finally:
            pool.shutdown(cancel_futures=True)
        cost_usd = sum(completion.cost_usd or 0.0 for completion in completions)
        _logger.info("%d captions by %s cost %.4f USD", len(paths), self.model, cost_usd)
        texts = (_one_line(completion.text) for completion in completions)
        return {path.name: text for path, text in zip(paths, texts, strict=True) if text}

    def _describe(self, path: Path) -> Completion:
        message = image_message(self.instruction, _as_jpeg(path), media_type="image/jpeg")
        return self.client.complete([message], model=self.model, max_tokens=MAX_TOKENS)


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
