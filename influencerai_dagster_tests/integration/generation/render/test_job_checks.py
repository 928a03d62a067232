"""A job that asks for what is nowhere is refused when it is submitted, if that can be known."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.templates import shipped_template
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.render.job_checks import JobChecks
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import claim_one, complete_job
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY
from influencerai_dagster_tests.testing.jobs import submit as submit_quick

AWAY = "http://127.0.0.1:9"
QUICK_SECONDS = 0.5


def order(
    engine: Engine,
    store: ObjectStore,
    urls: Sequence[str],
    *jobs: dict[str, Any],
    kind: JobKind = JobKind.IMAGE,
) -> list[job_queue.Job]:
    checks = JobChecks(store, urls, timeout_seconds=QUICK_SECONDS)
    submitter = JobSubmitter(engine, new_checks=lambda: checks)
    return submitter.submit(kind, TODAY, jobs, key_prefix=None)


def refusal(engine: Engine, store: ObjectStore, urls: Sequence[str], **fields: Any) -> str:
    """Submit a good job and a bad one; nothing may be written."""
    with pytest.raises(PermanentError) as caught:
        order(engine, store, urls, {"prompt": "good"}, {"prompt": "bad", **fields})
    with transaction(engine) as session:
        assert not sum(job_queue.count_by_status(session).values())
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"workflow": "nope"}, "workflow 'nope' is neither shipped (flux_text_to_image"),
        ({"workflow": "sd15_text_to_imag"}, "Did you mean sd15_text_to_image?"),
        ({"workflow": "../victim/w"}, "is not allowed"),
        ({"workflow": "svd_image_to_video"}, "makes videos; the job's kind is image"),
        ({"base_model": "their-own-x.safetensors"}, "Did you mean 'their-own-xl.safetensors'?"),
        ({"base_model": "nope"}, "base_model: no ComfyUI server has 'nope'. The choices are "),
        (
            {"sampler_name": "eulr"},
            "sampler_name: no ComfyUI server has 'eulr'. Did you mean 'euler",
        ),
        ({"scheduler": "karas"}, "Did you mean 'karras'?"),
        (
            {"workflow": "flux_text_to_image", "base_model": "sd_xl_base_1.0.safetensors"},
            "no ComfyUI server has 'sd_xl_base_1.0.safetensors'",
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_is_nowhere_is_refused_with_what_there_is(
    engine: Engine,
    object_store: ObjectStore,
    comfyui: ComfyUISimulator,
    fields: dict[str, Any],
    problem: str,
) -> None:
    text = refusal(engine, object_store, [comfyui.url], **fields)
    assert text.startswith("jobs[1] cannot be used: ")
    assert problem in text


def test_a_video_with_an_unknown_base_model_is_refused(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator
) -> None:
    (image,) = submit_quick(engine, "bella")
    complete_job(engine, claim_one(engine))
    video = {"source_job_id": str(image.id)}
    order(engine, object_store, [comfyui.url], video, kind=JobKind.VIDEO)
    bad = {**video, "base_model": "svd.safetensors"}
    with pytest.raises(PermanentError, match=r"Did you mean 'svd_xt\.safetensors'\?"):
        order(engine, object_store, [comfyui.url], bad, kind=JobKind.VIDEO)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"upscale_model": "RealESRGAN_x4.pth"},
            r"Did you mean 'RealESRGAN_x4plus\.pth'\? The choices are 2x_small\.pth, RealESRGAN"
            r"_x4plus\.pth\. The files are in models/upscale_models of ComfyUI",
        ),
        ({"workflow": "sd15_text_to_image"}, "makes images; the job's kind is upscale"),
        ({"base_model": "svd_xt.safetensors"}, "base_model"),
    ],
    ids=["unknown model", "image workflow", "no such field"],
)
def test_an_upscale_of_what_is_nowhere_is_refused_with_what_there_is(
    engine: Engine,
    object_store: ObjectStore,
    comfyui: ComfyUISimulator,
    fields: dict[str, str],
    problem: str,
) -> None:
    (image,) = submit_quick(engine, "bella")
    upscale = {"source_job_id": str(image.id)}
    with pytest.raises(PermanentError, match=problem):
        order(engine, object_store, [comfyui.url], upscale | fields, kind=JobKind.UPSCALE)
    assert order(engine, object_store, [comfyui.url], upscale, kind=JobKind.UPSCALE)


def test_a_server_without_upscale_models_names_their_folder(
    engine: Engine, object_store: ObjectStore, bare: ComfyUISimulator
) -> None:
    (image,) = submit_quick(engine, "bella")
    upscale = {"source_job_id": str(image.id)}
    with pytest.raises(PermanentError, match=r"no ComfyUI server has 'RealESRGAN.*upscale_models"):
        order(engine, object_store, [bare.url], upscale, kind=JobKind.UPSCALE)


def test_what_there_is_is_taken(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator
) -> None:
    job = {
        "prompt": "bella",
        "workflow": "sdxl_text_to_image",
        "base_model": "their-own-xl.safetensors",
        "sampler_name": "euler",
        "scheduler": "karras",
    }
    assert order(engine, object_store, [comfyui.url], job)


@pytest.mark.parametrize("node_class", ["TheirUpscaler", "Load"])
def test_an_own_workflow_is_checked_when_a_job_names_it(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator, node_class: str
) -> None:
    nodes = dict(shipped_template("sd15_text_to_image").nodes)
    nodes["66"] = {"class_type": node_class, "inputs": {}}
    object_store.put_latest("workflows/demo/mine.json", json.dumps(nodes).encode())
    text = refusal(engine, object_store, [comfyui.url], workflow="mine")
    assert f"take {node_class} 66 out" in text


def test_a_node_class_that_the_operator_allowed_but_no_server_has_is_named(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator
) -> None:
    nodes = dict(shipped_template("sd15_text_to_image").nodes)
    nodes["66"] = {"class_type": "TheirUpscaler", "inputs": {}}
    object_store.put_latest("workflows/demo/mine.json", json.dumps(nodes).encode())
    checks = JobChecks(object_store, [comfyui.url], tenant_nodes={"TheirUpscaler"})
    job = {"prompt": "x", "workflow": "mine"}
    with pytest.raises(PermanentError, match=r"'TheirUpscaler' \(66\), which no ComfyUI server"):
        JobSubmitter(engine, new_checks=lambda: checks).submit(
            JobKind.IMAGE, TODAY, [job], key_prefix=None
        )


def test_a_model_that_one_of_two_servers_has_is_taken(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    job = {"prompt": "bella", "base_model": "their-own-xl.safetensors"}
    assert order(engine, object_store, [bare.url, comfyui.url], job)
    text = refusal_of_bare(engine, object_store, bare)
    assert "no ComfyUI server has 'their-own-xl.safetensors'" in text


def refusal_of_bare(engine: Engine, store: ObjectStore, bare: ComfyUISimulator) -> str:
    job = {"prompt": "bella", "base_model": "their-own-xl.safetensors"}
    with pytest.raises(PermanentError) as caught:
        order(engine, store, [bare.url], job)
    return str(caught.value)


def test_while_a_server_does_not_answer_a_job_is_taken_as_it_is(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator
) -> None:
    job = {"prompt": "bella", "base_model": "nope", "sampler_name": "nope"}
    assert order(engine, object_store, [comfyui.url, AWAY], job)
    comfyui.faults(answer_delay_seconds=4 * QUICK_SECONDS)
    assert order(engine, object_store, [comfyui.url], job)


def test_a_job_that_names_nothing_asks_no_server(engine: Engine, object_store: ObjectStore) -> None:
    checks = JobChecks(object_store, ["not even an address"])
    job = {"prompt": "bella"}
    submitter = JobSubmitter(engine, new_checks=lambda: checks)
    assert submitter.submit(JobKind.IMAGE, TODAY, [job], key_prefix=None)
