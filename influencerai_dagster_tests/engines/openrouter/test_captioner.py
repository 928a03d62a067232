import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from influencerai_dagster.engines.openrouter.captioner import MAX_SIDE_PX, OpenRouterCaptioner
from influencerai_dagster.engines.openrouter.client import OpenRouterClient
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.engines.openrouter.conftest import MODEL, Simulator


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
    assert all(text.startswith("SIMULATED") and "\n" not in text for text in captions.values())
    assert "rgb(254, 0, 0)" in captions["a.png"]
    assert "rgb(0, 0, 254)" in captions["c.webp"]


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
