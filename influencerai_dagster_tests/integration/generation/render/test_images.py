"""One image job becomes one image; what cannot be made says why, and nothing is written."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file
from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.templates import shipped_template
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import LoraReference
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.render.images import FAMILY_DEFAULTS, ImageRenderer
from influencerai_dagster.generation.render.lora_samples import render_samples
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.simulators.sd_scripts.simulation.weights import safetensors_bytes
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import claim_one, end_backoff, run_out_leases
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES
from influencerai_dagster_tests.testing.jobs import add_lora, claimed, submit, weights
from influencerai_dagster_tests.testing.photos import contents

XL = BaseModelFamily.SDXL


def refused(renderer: ImageRenderer, server: str, job: Any) -> str:
    """Render a job that cannot be made; nothing may be posted or stored."""
    before = contents(renderer.store)
    with pytest.raises(PermanentError) as caught:
        renderer.render(job, server)
    assert contents(renderer.store) == before
    return str(caught.value)


def test_an_image_is_stored_with_everything_that_is_needed_to_make_it_again(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    lora = add_lora(engine, renderer.store)
    job = claimed(engine, loras=(LoraReference(dataset="bella", strength_model=0.8),))
    before = contents(renderer.store)
    output, manifest = renderer.render(job, comfyui.url)
    written = contents(renderer.store).keys() - before.keys()
    folder = f"images/demo/{job.id}"
    assert written == {f"{folder}/output.png", f"{folder}/output.json"}
    assert OutputManifest.model_validate_json(renderer.store.read(manifest)) == output
    assert renderer.store.read(output.file).startswith(b"\x89PNG")
    assert (output.width_px, output.height_px) == (64, 64)
    assert output.prompt_id == prompt_id(job.id, 1)
    assert output.is_simulated
    (ingredient,) = output.loras
    assert (ingredient.lora_id, ingredient.dataset_version) == ("lora1", lora.dataset_version)
    assert isinstance(output.sampling, ImageSampling)
    assert output.sampling.base_model == lora.config.base_model
    placed = comfyui.models_dir / "loras" / "demo" / "lora1.safetensors"
    assert placed.read_bytes() == renderer.store.get(lora.weights_key)


@pytest.mark.parametrize(
    ("base_model", "family"),
    [
        (None, BaseModelFamily.SD15),
        ("sd_xl_base_1.0.safetensors", XL),
        ("their-own-xl.safetensors", XL),
        ("their-own-sd.safetensors", BaseModelFamily.SD15),
    ],
)
def test_what_a_job_leaves_open_comes_from_the_family_of_its_base_model(
    engine: Engine,
    renderer: ImageRenderer,
    comfyui: ComfyUISimulator,
    base_model: str | None,
    family: BaseModelFamily,
) -> None:
    job = claimed(engine, base_model=base_model, steps=None)
    output, _ = renderer.render(job, comfyui.url)
    assert isinstance(output.sampling, ImageSampling)
    assert output.workflow_name == FAMILY_DEFAULTS[family].workflow
    assert output.sampling.steps == FAMILY_DEFAULTS[family].steps
    assert output.sampling.base_model == (base_model or FAMILY_DEFAULTS[family].base_model)


@pytest.mark.parametrize("base_model", ["sd_xl_base_1.0.safetensors", "their-own-xl.safetensors"])
def test_a_lora_of_another_base_family_is_refused_by_name(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, base_model: str
) -> None:
    add_lora(engine, renderer.store)
    job = claimed(engine, loras=(LoraReference(dataset="bella"),), base_model=base_model)
    text = refused(renderer, comfyui.url, job)
    assert "LoRA lora1 fits base models of sd15" in text
    assert f"{base_model}, which is sdxl" in text


def test_a_lora_on_another_base_model_of_its_family_is_fine(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    add_lora(engine, renderer.store)
    base_model = "their-own-sd.safetensors"
    job = claimed(engine, loras=(LoraReference(dataset="bella"),), base_model=base_model)
    output, _ = renderer.render(job, comfyui.url)
    assert isinstance(output.sampling, ImageSampling)
    assert output.sampling.base_model == base_model


@pytest.fixture
def unknown_model(comfyui: ComfyUISimulator) -> Iterator[Path]:
    """A checkpoint whose tensors say nothing, and that no folder of ours has."""
    path = comfyui.models_dir / "checkpoints" / "nobody-knows.safetensors"
    save_file({"weight": np.zeros(1)}, path)
    yield path
    path.unlink()


def test_a_family_that_only_the_server_tells_is_asked_for(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, unknown_model: Path
) -> None:
    reported = {"modelspec.architecture": "stable-diffusion-xl-v1-base"}
    save_file({"weight": np.zeros(1)}, unknown_model, metadata=reported)
    output, _ = renderer.render(claimed(engine, base_model=unknown_model.name), comfyui.url)
    assert output.workflow_name == FAMILY_DEFAULTS[XL].workflow


def test_a_family_that_nothing_tells_is_not_guessed(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, unknown_model: Path
) -> None:
    name = unknown_model.name
    text = refused(renderer, comfyui.url, claimed(engine, base_model=name, steps=None))
    assert f"the family of base model {name} (sd15, sdxl, flux) is unknown" in text
    assert text.endswith("Name workflow, steps, cfg in the job.")
    job = claimed(engine, base_model=name, workflow="sd15_text_to_image", steps=2, cfg=7.0)
    output, _ = renderer.render(job, comfyui.url)
    assert output.workflow_name == "sd15_text_to_image"


def test_loras_of_two_families_in_one_job_are_refused(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    add_lora(engine, renderer.store, lora_id="sd")
    add_lora(engine, renderer.store, lora_id="xl", family=XL)
    references = tuple(LoraReference(dataset="bella", lora_id=name) for name in ("sd", "xl"))
    text = refused(renderer, comfyui.url, claimed(engine, loras=references))
    assert "sd (sd15), xl (sdxl)" in text


def test_a_lora_file_that_is_not_what_its_manifest_says_is_refused_before_use(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    add_lora(engine, renderer.store, lora_id="masked", content=weights(XL))
    job = claimed(engine, loras=(LoraReference(dataset="bella"),))
    text = refused(renderer, comfyui.url, job)
    assert "masked.safetensors is a LoRA for sdxl and does not fit a base model of sd15" in text


def test_a_lora_whose_weights_were_changed_on_s3_never_reaches_comfyui(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    lora = add_lora(engine, renderer.store, lora_id="changed")
    renderer.store.put_latest(lora.weights_key, weights(seed=2))
    text = refused(renderer, comfyui.url, claimed(engine, loras=(LoraReference(dataset="bella"),)))
    assert lora.weights_key in text
    assert "is not what its manifest says" in text
    assert not list((comfyui.models_dir / "loras").rglob("*changed*"))


def test_the_lora_of_another_tenant_is_one_that_does_not_exist(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    add_lora(engine, renderer.store, tenant="other", lora_id="theirs")
    reference = LoraReference(dataset="bella", lora_id="theirs")
    with pytest.raises(PermanentError, match="tenant 'demo' has no LoRA 'theirs'"):
        submit(engine, "bella", loras=(reference,))
    # A job that came into the job queue before the LoRA changed hands, or by another way:
    job = claimed(engine)
    payload = job.payload.model_copy(update={"loras": (reference,)})
    text = refused(renderer, comfyui.url, _with_payload(job, payload))
    assert text == "tenant demo has no LoRA theirs; train it first"


def _with_payload(job: Any, payload: Any) -> Any:
    return type(job)(**{**vars(job), "payload": payload})


@pytest.mark.parametrize(
    "kind",
    ["parent folder", "absolute", "nul", "newline", "unicode look-alike", "300 characters"],
)
def test_hostile_names_in_a_job_are_refused_when_it_is_rendered(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, kind: str
) -> None:
    job, name = claimed(engine), HOSTILE_NAMES[kind]
    for changes in (
        {"loras": (LoraReference(dataset=name),)},
        {"loras": (LoraReference(dataset="bella", lora_id=name),)},
        {"workflow": name},
    ):
        payload = job.payload.model_copy(update=changes)
        assert "is not allowed" in refused(renderer, comfyui.url, _with_payload(job, payload))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\nb", "x" * 255, "é" * 255])
def test_a_base_model_outside_of_comfyuis_folders_is_refused_with_a_clear_text(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, name: str
) -> None:
    text = refused(renderer, comfyui.url, claimed(engine, base_model=name))
    assert "the workflow cannot run on this ComfyUI" in text
    assert "ckpt_name" in text


@pytest.fixture
def small_model(comfyui: ComfyUISimulator) -> Iterator[str]:
    """A base model of SD 1.5's family that lacks the blocks which the tests' LoRA is for."""
    unet = "model.diffusion_model"
    shapes = {f"{unet}.out.{number}.weight": [4, 4] for number in range(100)}
    shapes[f"{unet}.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"] = [320, 768]
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * shape[0] * shape[1]
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    path = comfyui.models_dir / "checkpoints" / "small-sd.safetensors"
    path.write_bytes(safetensors_bytes(header, bytes(end)))
    yield path.name
    path.unlink()


def test_a_lora_of_which_most_would_be_left_out_is_refused_with_the_numbers(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, small_model: str
) -> None:
    add_lora(engine, renderer.store)
    job = claimed(engine, loras=(LoraReference(dataset="bella"),), base_model=small_model)
    text = refused(renderer, comfyui.url, job)
    assert f"LoRA demo/lora1.safetensors does not fit base model {small_model}" in text
    assert "of its 2 modules 2 are not in the base model" in text


def test_samples_of_a_lora_that_does_not_apply_are_not_rendered(
    engine: Engine, renderer: ImageRenderer, small_model: str
) -> None:
    lora = add_lora(engine, renderer.store)
    config = lora.config.model_copy(update={"base_model": small_model})
    with pytest.raises(PermanentError, match="of its 2 modules 2 are not in the base model"):
        render_samples(
            renderer.store,
            renderer.render_session,
            lora.model_copy(update={"config": config}),
            lambda *_: None,
        )


def put_workflow(store: ObjectStore, tenant: str, name: str, nodes: dict[str, Any]) -> None:
    store.put_latest(f"workflows/{tenant}/{name}.json", json.dumps(nodes).encode())


def own_nodes() -> dict[str, Any]:
    return json.loads(json.dumps(dict(shipped_template("sd15_text_to_image").nodes)))  # type: ignore[no-any-return]


def test_a_tenants_own_workflow_is_rendered(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    put_workflow(renderer.store, "demo", "mine", own_nodes())
    output, _ = renderer.render(claimed(engine, workflow="mine"), comfyui.url)
    assert output.workflow_name == "mine"


def test_the_workflow_of_another_tenant_is_one_that_does_not_exist(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    put_workflow(renderer.store, "other", "theirs", own_nodes())
    text = refused(renderer, comfyui.url, claimed(engine, workflow="theirs"))
    assert "workflow 'theirs' is neither shipped (" in text
    assert "nor at workflows/demo/theirs.json" in text


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("KSampler", "KSampler"),
        ("CLIPTextEncode", "'positive' of KSampler 5 leads to node '2', which is not in"),
        ("EmptyLatentImage", "'latent_image' of KSampler 5 leads to node '4', which is not in"),
        ("SaveImage", "a SaveImage node is missing"),
    ],
)
def test_a_workflow_with_a_missing_node_is_refused_with_the_place_where_it_belongs(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, missing: str, problem: str
) -> None:
    nodes = {key: node for key, node in own_nodes().items() if node["class_type"] != missing}
    put_workflow(renderer.store, "demo", "mine", nodes)
    text = refused(renderer, comfyui.url, claimed(engine, workflow="mine"))
    assert "workflow template 'mine' cannot be used" in text
    assert problem in text


def test_a_workflow_with_a_node_that_the_server_lacks_is_refused_with_the_nodes_name(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    nodes = own_nodes()
    nodes["99"] = {"class_type": "TheirFancyUpscaler", "inputs": {}}
    put_workflow(renderer.store, "demo", "mine", nodes)
    renderer.render_session = replace(
        renderer.render_session, tenant_nodes=frozenset({"TheirFancyUpscaler"})
    )
    text = refused(renderer, comfyui.url, claimed(engine, workflow="mine"))
    assert "node 99: the server has no node class 'TheirFancyUpscaler'" in text


def test_a_workflow_that_is_too_large_is_not_even_read(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    renderer.store.put_latest("workflows/demo/large.json", b" " * (1024**2 + 1))
    text = refused(renderer, comfyui.url, claimed(engine, workflow="large"))
    assert "workflows/demo/large.json has 1048577 bytes; at most 1048576 are read" in text


def test_a_job_that_is_cancelled_while_it_is_prepared_reaches_no_server(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    add_lora(engine, renderer.store)
    job = claimed(engine, loras=(LoraReference(dataset="bella"),))
    renderer.render_session.interrupt(job.id)
    with pytest.raises(TransientError, match="was stopped before its next render began"):
        renderer.render(job, comfyui.url)
    assert prompt_id(job.id, 1) not in comfyui.stats()["prompts"]


def test_a_job_with_thousands_of_loras_is_refused_when_it_is_submitted(engine: Engine) -> None:
    with pytest.raises(ValidationError, match="at most 16"):
        submit(engine, "bella", loras=(LoraReference(dataset="bella"),) * 10_000)


def test_a_workflow_that_loads_a_lora_of_its_own_is_refused(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    nodes = own_nodes()
    inputs = {"lora_name": "other/lora1.safetensors", "strength_model": 1.0, "model": ["1", 0]}
    nodes["99"] = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
    put_workflow(renderer.store, "demo", "mine", nodes)
    text = refused(renderer, comfyui.url, claimed(engine, workflow="mine"))
    assert "take LoraLoaderModelOnly 99 out" in text


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_workflow_that_is_none_is_refused(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, content: bytes
) -> None:
    renderer.store.put_latest("workflows/demo/mine.json", content)
    text = refused(renderer, comfyui.url, claimed(engine, workflow="mine"))
    assert "workflow template 'mine' cannot be used" in text


def test_a_lora_whose_manifest_is_unreadable_fails_its_job_only(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    lora = add_lora(engine, renderer.store)
    renderer.store.put_latest(lora.object_key(), b"{}")
    text = refused(renderer, comfyui.url, claimed(engine, loras=(LoraReference(dataset="bella"),)))
    assert f"{lora.object_key()} is not a LoraManifest" in text


def test_without_a_lora_folder_a_job_with_a_lora_names_the_setting(
    engine: Engine,
    object_store: ObjectStore,
    render_session: RenderSession,
    comfyui: ComfyUISimulator,
) -> None:
    add_lora(engine, object_store)
    job = claimed(engine, loras=(LoraReference(dataset="bella"),))
    renderer = ImageRenderer(engine, object_store, replace(render_session, lora_dir=None))
    text = refused(renderer, comfyui.url, job)
    assert "COMFYUI_LORA_DIR is not set" in text


def test_a_second_claim_fetches_what_the_first_one_rendered_and_stores_it_beside(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    job = claimed(engine)
    first, _ = renderer.render(job, comfyui.url)
    run_out_leases(engine, job)
    with transaction(engine) as session:
        job_queue.expire_leases(session)
    end_backoff(engine)
    second, _ = renderer.render(claim_one(engine), comfyui.url)
    assert second.file.object_key == f"images/demo/{job.id}/output-2.png"
    assert second.prompt_id == first.prompt_id
    assert second.file.sha256 == first.file.sha256
    assert comfyui.stats()["prompts"].keys() & {prompt_id(job.id, 2)} == set()
