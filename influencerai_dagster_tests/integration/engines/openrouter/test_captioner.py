import base64
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from influencerai_dagster.core.refused_images import RefusedImage
from influencerai_dagster.engines.openrouter.answers import Completion
from influencerai_dagster.engines.openrouter.captioner import (
    INSTRUCTION,
    MAX_SIDE_PX,
    OpenRouterCaptioner,
)
from influencerai_dagster.engines.openrouter.client import Message, OpenRouterClient
from influencerai_dagster.engines.openrouter.failures import RefusedInputError
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.testing.openrouter_server import MODEL, Simulator


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    for name, colour in {"a.png": "red", "b.jpg": "green", "c.webp": "blue"}.items():
        Image.new("RGB", (300, 200), colour).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("not an image")
    return tmp_path


@pytest.fixture
def captioner(client: OpenRouterClient) -> OpenRouterCaptioner:
    return OpenRouterCaptioner(client, model=MODEL)


def test_every_image_gets_one_line_about_itself(
    captioner: OpenRouterCaptioner, image_dir: Path
) -> None:
    captions = captioner.caption(image_dir)
    assert set(captions) == {"a.png", "b.jpg", "c.webp"}
    assert all(
        str(text).startswith("SIMULATED") and "\n" not in str(text) for text in captions.values()
    )
    assert "rgb(254, 0, 0)" in str(captions["a.png"])
    assert "rgb(0, 0, 254)" in str(captions["c.webp"])


def test_a_large_image_is_made_smaller_before_it_is_sent(
    captioner: OpenRouterCaptioner, simulator: Simulator, tmp_path: Path
) -> None:
    Image.new("RGBA", (3000, 1500)).save(tmp_path / "large.png")
    captioner.caption(tmp_path)
    uri = simulator.calls()[-1]["messages"][0]["content"][1]["image_url"]["url"]
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (MAX_SIDE_PX, MAX_SIDE_PX // 2)


def test_an_empty_folder_has_no_captions(captioner: OpenRouterCaptioner, tmp_path: Path) -> None:
    assert captioner.caption(tmp_path) == {}


def test_one_rate_limit_does_not_fail_the_folder(
    captioner: OpenRouterCaptioner, simulator: Simulator, image_dir: Path
) -> None:
    simulator.set_faults(status=429, count=2, retry_after_seconds=2)
    assert len(captioner.caption(image_dir)) == 3


def test_a_refusal_ends_it(
    captioner: OpenRouterCaptioner, simulator: Simulator, image_dir: Path
) -> None:
    simulator.set_faults(status=402, count=99)
    with pytest.raises(PermanentError, match="no credits"):
        captioner.caption(image_dir)


def test_an_image_that_is_refused_is_named_and_the_others_have_their_captions(
    image_dir: Path,
) -> None:
    class Client(OpenRouterClient):
        """Refuses what is green, which JPEG keeps green enough."""

        def complete(self, messages: Sequence[Message], **_: Any) -> Completion:
            data = messages[0]["content"][1]["image_url"]["url"].partition(",")[2]
            image = Image.open(io.BytesIO(base64.b64decode(data)))
            red, green, _blue = image.resize((1, 1)).tobytes()
            if green > red + 99:
                raise RefusedInputError("the model refused the input: content_filter")
            return Completion("a woman", "gen-1", MODEL, "stop", 0.001, 3, 2)

    Image.new("RGB", (300, 200), (0, 250, 0)).save(image_dir / "b.jpg")
    kept = Kept()
    client = Client(api_key="sk-test")
    found = OpenRouterCaptioner(client, MODEL, cache=kept).caption(image_dir)
    why = "the model refused the input: content_filter"
    refused = RefusedImage(file_name="b.jpg", why=why)
    assert found == {"a.png": "a woman", "b.jpg": refused, "c.webp": "a woman"}
    assert len(kept.answers) == 2


@dataclass
class Kept:
    """A cache, and what is done after each sentence that it keeps."""

    answers: dict[str, str] = field(default_factory=dict)
    after: Callable[[], None] = lambda: None

    def get(self, key: str) -> str | None:
        return self.answers.get(key)

    def put(self, key: str, text: str) -> None:
        self.answers[key] = text
        self.after()


def test_what_was_answered_before_a_failure_is_not_asked_for_again(
    client: OpenRouterClient,
    simulator: Simulator,
    image_dir: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept(after=lambda: simulator.set_faults(status=402, count=99))
    with pytest.raises(PermanentError, match="no credits"):
        OpenRouterCaptioner(client, MODEL, cache=kept, parallel=1).caption(image_dir)
    assert len(kept.answers) == 1
    simulator.set_faults()
    num_calls = len(simulator.calls())
    kept.after = lambda: None
    caplog.set_level(logging.INFO)
    captions = OpenRouterCaptioner(client, MODEL, cache=kept).caption(image_dir)
    assert len(simulator.calls()) - num_calls == 2
    assert "2 answers for 0.0" in caplog.text
    assert "1 cache hits, 0 refused" in caplog.text
    again = OpenRouterCaptioner(client, MODEL, cache=kept).caption(image_dir)
    assert again == captions == OpenRouterCaptioner(client, MODEL).caption(image_dir)
    assert len(simulator.calls()) - num_calls == 2 + 3


@pytest.mark.parametrize(
    ("model", "instruction"),
    [("openai/gpt-4o-mini", INSTRUCTION), (MODEL, "Describe the image.")],
    ids=["model", "instruction"],
)
def test_another_question_is_another_answer(
    client: OpenRouterClient, image_dir: Path, model: str, instruction: str
) -> None:
    kept = Kept()
    OpenRouterCaptioner(client, MODEL, cache=kept).caption(image_dir)
    other = OpenRouterCaptioner(client, model, cache=kept, instruction=instruction)
    other.caption(image_dir)
    assert len(kept.answers) == 6


def test_what_cannot_be_kept_fails_the_folder(client: OpenRouterClient, image_dir: Path) -> None:
    def away() -> None:
        raise TransientError("PostgreSQL is away")

    with pytest.raises(TransientError, match="PostgreSQL is away"):
        OpenRouterCaptioner(client, MODEL, cache=Kept(after=away)).caption(image_dir)
