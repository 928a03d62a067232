"""LoRA files reach ComfyUI's folder whole, once, and only below their tenant's name."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.engines.comfyui.values import RenderedFile, RenderResult
from influencerai_dagster.errors import ObjectNotFoundError, PermanentError
from influencerai_dagster.generation.render.lora_files import install_lora
from influencerai_dagster.generation.render.render_job import (
    filename_prefix,
    refuse_one_colour,
    single_image,
)
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import lora_manifest
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES
from influencerai_dagster_tests.testing.jobs import add_lora, claimed, weights


@pytest.fixture
def lora(engine: Engine, object_store: ObjectStore) -> LoraManifest:
    return add_lora(engine, object_store)


def test_a_lora_is_placed_below_its_tenant(
    lora: LoraManifest, object_store: ObjectStore, tmp_path: Path
) -> None:
    assert install_lora(object_store, lora, tmp_path) == "demo/lora1.safetensors"
    assert (tmp_path / "demo" / "lora1.safetensors").read_bytes() == weights()


def test_a_placed_lora_is_not_fetched_again(
    lora: LoraManifest, object_store: ObjectStore, tmp_path: Path
) -> None:
    install_lora(object_store, lora, tmp_path)
    object_store.delete(lora.weights_key)
    assert install_lora(object_store, lora, tmp_path) == "demo/lora1.safetensors"


@pytest.mark.parametrize("content", [b"", weights()[:-1], weights(seed=2)], ids=len)
def test_a_placed_file_with_other_bytes_is_replaced(
    lora: LoraManifest, object_store: ObjectStore, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "demo" / "lora1.safetensors"
    path.parent.mkdir()
    path.write_bytes(content)
    install_lora(object_store, lora, tmp_path)
    assert path.read_bytes() == weights()


def test_weights_that_are_gone_are_named_and_nothing_is_placed(
    lora: LoraManifest, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.delete(lora.weights_key)
    with pytest.raises(ObjectNotFoundError, match=r"loras/demo/lora1\.safetensors"):
        install_lora(object_store, lora, tmp_path)
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_file_of_another_family_than_its_manifest_says_is_refused(
    engine: Engine, object_store: ObjectStore, tmp_path: Path
) -> None:
    xl = add_lora(engine, object_store, lora_id="xl", content=weights(BaseModelFamily.SDXL))
    with pytest.raises(PermanentError, match="is a LoRA for sdxl and does not fit"):
        install_lora(object_store, xl, tmp_path)


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_manifest_with_a_hostile_name_places_nothing(
    object_store: ObjectStore, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "models" / "loras"
    for changes in ({"tenant": name}, {"lora_id": name}):
        with pytest.raises(PermanentError, match="is not allowed"):
            install_lora(object_store, lora_manifest().model_copy(update=changes), folder)
    assert list(tmp_path.iterdir()) == []


def test_every_claim_renders_under_a_prefix_of_its_own(engine: Engine) -> None:
    job = claimed(engine)
    prefixes = {filename_prefix(replace(job, lease_token=token)) for token in (1, 2, 3)}
    assert prefixes == {f"demo/2026-11-23/{job.id}-{token}" for token in (1, 2, 3)}


@pytest.mark.parametrize(
    ("names", "found"),
    [((), "nothing"), (("a.webp",), "a.webp"), (("a.png", "b.png"), "a.png, b.png")],
    ids=["none", "another format", "two"],
)
def test_a_workflow_that_does_not_give_one_image_is_told_what_it_gave(
    names: tuple[str, ...], found: str
) -> None:
    files = tuple(RenderedFile(name, b"x") for name in names)
    result = RenderResult(prompt_id="p", files=files, seconds=1, was_found=False)
    with pytest.raises(PermanentError, match=f"one .png file, but gave {found}$"):
        single_image(result)


def png(*colours: tuple[int, ...], mode: str = "RGB") -> bytes:
    """An image of some pixels."""
    image = Image.new(mode, (len(colours), 8))
    for x, colour in enumerate(colours):
        image.paste(colour, (x, 0, x + 1, 8))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


BLACK, GREY, ALMOST_BLACK = (0, 0, 0), (127, 127, 127), (0, 0, 1)


@pytest.mark.parametrize("colour", [BLACK, GREY], ids=["black", "grey"])
def test_an_image_of_one_colour_is_no_success_whatever_comfyui_says(
    colour: tuple[int, ...],
) -> None:
    file = RenderedFile("a.png", png(colour, colour))
    result = RenderResult(prompt_id="p", files=(file,), seconds=1, was_found=False)
    with pytest.raises(PermanentError, match=r"one colour only.*NaN.*--fp32-vae"):
        single_image(result)


def test_an_image_with_one_other_pixel_is_taken() -> None:
    file = RenderedFile("a.png", png(BLACK, ALMOST_BLACK))
    result = RenderResult(prompt_id="p", files=(file,), seconds=1, was_found=False)
    assert single_image(result) == file.content


def test_transparency_does_not_make_a_black_image_a_success() -> None:
    with pytest.raises(PermanentError, match="one colour only"):
        refuse_one_colour([png((0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA")])


def test_a_video_may_fade_to_black_but_not_be_black() -> None:
    refuse_one_colour([png(BLACK, GREY), png(BLACK, BLACK)])
    with pytest.raises(PermanentError, match="all 2 frames have one colour only"):
        refuse_one_colour([png(BLACK), png(GREY)])


@pytest.mark.parametrize("content", [b"", b"x", png(BLACK)[:-20]], ids=["empty", "text", "cut"])
def test_an_image_that_does_not_decode_is_a_clear_error(content: bytes) -> None:
    with pytest.raises(PermanentError, match="does not decode"):
        refuse_one_colour([content])
