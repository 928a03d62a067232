"""What doctor says of engines that are set up in ways that cannot train or render."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from influencerai_dagster.cli.doctor_engines import (
    comfyui,
    kohya,
    lora_dir,
    openrouter,
    training_models,
)
from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.values import SystemStats
from influencerai_dagster.engines.kohya.installation import try_installation
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.settings import Settings, load_settings
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster.training.lora_configs import put_lora_config
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.openrouter_server import openrouter_url
from influencerai_dagster_tests.testing.paths import SIMULATED_KOHYA_DIR
from influencerai_dagster_tests.testing.ports import free_port

SIMULATED = SIMULATED_KOHYA_DIR
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    simulator = ComfyUISimulator(tmp_path_factory.mktemp("comfyui"), {})
    yield simulator
    simulator.stop()


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    preset = PRESETS["sd15-face"]
    path = tmp_path / "models" / "checkpoints" / preset.base_model
    write_simulated_base_model(path, preset.base_model_family)
    return tmp_path / "models"


def settings(models_dir: Path, **changes: Any) -> Settings:
    values = {
        "database_url": NO_DATABASE,
        "kohya_dir": SIMULATED,
        "kohya_python": Path(sys.executable),
        "kohya_models_dir": models_dir,
    }
    return load_settings(**{**values, **changes})


def trainer_that(folder: Path, code: str) -> Path:
    """An sd-scripts folder whose trainer is this code."""
    folder.mkdir()
    (folder / "train_network.py").write_text(code)
    return folder


def test_a_trainer_that_starts_says_what_it_would_train_on(models_dir: Path) -> None:
    assert kohya(settings(models_dir)) == f"{SIMULATED}: simulated"


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ('[["NVIDIA RTX", 25769803776]]', "PyTorch 2.9.1, NVIDIA RTX (24 GiB)"),
        ("[]", "PyTorch 2.9.1 sees no GPU: trainings would take days on the CPU"),
    ],
    ids=["GPU", "CPU"],
)
def test_the_gpu_that_pytorch_sees_is_named(
    models_dir: Path, tmp_path: Path, gpus: str, said: str
) -> None:
    folder = trainer_that(tmp_path / "sd-scripts", "print('usage: train_network.py')")
    (folder / "torch.py").write_text(
        "from types import SimpleNamespace as N\n"
        f"__version__, gpus = '2.9.1', {gpus}\n"
        "cuda = N(device_count=lambda: len(gpus), get_device_properties=lambda index:"
        " N(name=gpus[index][0], total_memory=gpus[index][1]))\n"
    )
    assert kohya(settings(models_dir, kohya_dir=folder)) == f"{folder}: {said}"


def test_an_interpreter_that_is_not_there_is_named(models_dir: Path) -> None:
    with pytest.raises(PermanentError, match="/no/such/python is not a program: set KOHYA_PYTHON"):
        kohya(settings(models_dir, kohya_python=Path("/no/such/python")))


def test_a_package_that_the_interpreter_lacks_is_named(models_dir: Path, tmp_path: Path) -> None:
    folder = trainer_that(tmp_path / "sd-scripts", "import no_such_torch")
    with pytest.raises(PermanentError, match=r"No module named 'no_such_torch'\. Install"):
        kohya(settings(models_dir, kohya_dir=folder))


def test_a_trainer_that_takes_too_long_to_start_is_told_from_one_that_cannot(
    tmp_path: Path,
) -> None:
    folder = trainer_that(tmp_path / "sd-scripts", "import time; time.sleep(600)")
    with pytest.raises(TransientError) as caught:
        try_installation(folder, Path(sys.executable), BaseModelFamily.SD15, time_limit_seconds=0.5)
    text = str(caught.value)
    assert "did not start train_network.py within" in text
    assert "try again when less runs" in text
    assert "/log" not in text, "a log that was deleted is named"


def test_a_folder_that_is_no_checkout_is_named(models_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"has no train_network\.py: set KOHYA_DIR"):
        kohya(settings(models_dir, kohya_dir=tmp_path))


def test_the_models_of_the_default_preset_are_looked_for(models_dir: Path, tmp_path: Path) -> None:
    assert training_models(settings(models_dir)) == PRESETS["sd15-face"].base_model
    (tmp_path / "empty").mkdir()
    with pytest.raises(PermanentError, match=r"sd15-face: base model 'v1-5.* was not found"):
        training_models(settings(tmp_path / "empty"))


def test_the_models_of_every_tenants_configuration_are_looked_for(
    database_url: str, models_dir: Path
) -> None:
    engine = create_catalog_engine(database_url)
    with transaction(engine) as session:
        add_tenant(session, "demo")
        put_lora_config(session, "demo", "big", preset="flux-face")
        base_model = {"base_model": PRESETS["sd15-face"].base_model}
        put_lora_config(session, "demo", "odd", preset="sdxl-face", overrides=base_model)
    engine.dispose()
    with pytest.raises(PermanentError) as caught:
        training_models(settings(models_dir, database_url=database_url))
    text = str(caught.value)
    assert "demo/big: base model 'flux1-dev.safetensors' was not found" in text
    assert f"demo/big: {models_dir}/vae/ae.safetensors is missing" in text
    assert "demo/odd: base model v1-5-pruned-emaonly.safetensors is sd15, but" in text
    assert "sd15-face:" not in text


def test_tokenizers_that_are_not_kept_are_named(models_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "tokenizers"
    with pytest.raises(PermanentError, match="openai_clip-vit-large-patch14 is missing"):
        training_models(settings(models_dir, kohya_tokenizer_cache_dir=kept))
    (kept / "openai_clip-vit-large-patch14").mkdir(parents=True)
    assert training_models(settings(models_dir, kohya_tokenizer_cache_dir=kept))


def test_the_folder_of_loras_is_the_one_that_every_server_reads(server: ComfyUISimulator) -> None:
    folder = server.models_dir / "loras"
    assert lora_dir(folder, (server.url,)) == f"{folder}, every server sees it"
    away = f"http://127.0.0.1:{free_port()}"
    assert lora_dir(folder, (server.url, away)) == f"{folder}; not asked: {away}"
    assert list(folder.glob("doctor-*")) == []


def test_a_folder_that_a_server_does_not_read_is_named(
    server: ComfyUISimulator, tmp_path: Path
) -> None:
    with pytest.raises(PermanentError, match=f"is not the models/loras folder of {server.url}"):
        lora_dir(tmp_path, (server.url,), seen_seconds=0.0)
    assert list(tmp_path.iterdir()) == []


def test_memory_of_a_machine_without_a_gpu_is_not_called_vram(
    server: ComfyUISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = comfyui(server.url)
    assert "no GPU: it renders on the CPU" in said
    assert "VRAM" not in said
    stats = ComfyUIClient.system_stats

    def on_gpu(client: ComfyUIClient) -> SystemStats:
        found = stats(client)
        devices = (found.devices[0].model_copy(update={"type": "cuda"}),)
        return found.model_copy(update={"devices": devices})

    monkeypatch.setattr(ComfyUIClient, "system_stats", on_gpu)
    assert "GiB VRAM free" in comfyui(server.url)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        pytest.param(("RealESRGAN_x4plus.pth", "2x_small.pth"), ", 2 upscale models, ", id="some"),
        pytest.param(
            ("2x_small.pth",),
            "1 upscale models without RealESRGAN_x4plus.pth: an upscale job has to name one of "
            "2x_small.pth in upscale_model",
            id="not the default one",
        ),
        pytest.param(
            (),
            "no upscale model: upscale jobs are refused until RealESRGAN_x4plus.pth, or another "
            "one that they name, is in models/upscale_models",
            id="none",
        ),
    ],
)
def test_upscale_models_are_looked_for(
    server: ComfyUISimulator, monkeypatch: pytest.MonkeyPatch, models: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr(
        ComfyUIClient,
        "models",
        lambda _, folder: models if folder == "upscale_models" else ("base.safetensors",),
    )
    assert says in comfyui(server.url)


def test_openrouters_key_is_tried(servers_dir: Path, models_dir: Path) -> None:
    with openrouter_url(servers_dir / "openrouter-of-doctor") as url:
        at = {"openrouter_base_url": f"{url}/api/v1"}
        assert "accepts the key" in openrouter(settings(models_dir, openrouter_api_key="sk", **at))
        with pytest.raises(PermanentError, match="OPENROUTER_API_KEY is not set"):
            openrouter(settings(models_dir, openrouter_api_key=None, **at))
