"""The simulated sd-scripts against what the real one was recorded to do."""

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from safetensors import safe_open

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster.simulators.sd_scripts.simulation.faults import FAULTS
from influencerai_dagster_tests.testing.paths import RECORDED_DIR, SIMULATED_KOHYA_DIR

RECORDED = RECORDED_DIR / "kohya"
SCRIPTS = SIMULATED_KOHYA_DIR
TRAINERS = ["train_network", "sdxl_train_network", "flux_train_network"]
DATASET = """
[general]
enable_bucket = true
bucket_reso_steps = 64
min_bucket_reso = 64
max_bucket_reso = 256
caption_extension = ".txt"
[[datasets]]
resolution = [128, 128]
batch_size = 1
  [[datasets.subsets]]
  image_dir = {image_dir}
  num_repeats = 2
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for number in range(4):
        Image.effect_noise((96, 128), 50).save(folder / f"img_{number:02d}.jpg")
        (folder / f"img_{number:02d}.txt").write_text("photo of ohwx woman, smiling\n")
    return folder


@pytest.fixture
def run(tmp_path: Path, image_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a trainer as the recorded `good` run was; keyword arguments replace its options."""
    monkeypatch.setenv("SIMULATOR_KOHYA_SECONDS_PER_STEP", "0.001")
    monkeypatch.setenv("COLUMNS", "1000")
    write_simulated_base_model(tmp_path / "base.safetensors", BaseModelFamily.SD15)
    (tmp_path / "dataset.toml").write_text(DATASET.format(image_dir=json.dumps(str(image_dir))))
    words = (RECORDED / "good.cmd").read_text().split()
    recorded = dict(
        word.lstrip("-").split("=", 1)
        for word in words[words.index("train_network.py") + 1 :]
        if "=" in word
    )

    def start(
        *flags: str, trainer: str = "train_network", **options: object
    ) -> subprocess.CompletedProcess[str]:
        given: dict[str, object] = {
            **recorded,
            "pretrained_model_name_or_path": tmp_path / "base.safetensors",
            "dataset_config": tmp_path / "dataset.toml",
            "output_dir": tmp_path / "output",
            "tokenizer_cache_dir": tmp_path,
            "max_train_steps": 3,
            **options,
        }
        arguments = [f"--{name}={value}" for name, value in given.items()]
        return subprocess.run(
            [sys.executable, str(SCRIPTS / f"{trainer}.py"), "--sdpa", *flags, *arguments],
            capture_output=True,
            encoding="utf-8",
            cwd=SCRIPTS,
            check=False,
        )

    return start


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata())


def test_the_recorded_command_prints_the_recorded_lines(run: Run, tmp_path: Path) -> None:
    recorded = (RECORDED / "good.stdout.raw").read_bytes().decode()
    recorded = recorded.replace("/opt/kohya/out/good/", f"{tmp_path}/output/")
    finished = run()
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == recorded.split()


def test_the_bar_is_drawn_as_recorded(run: Run) -> None:
    def shape(stderr: str) -> list[str]:
        bars = re.findall(r"steps: [^\r\n\]]*\]", stderr.replace("\r", "\n"))
        return [
            re.sub(r"\d+:\d+|\d+\.\d+(?=s/it|it/s)|s/it|it/s|avr_loss=[\d.]+", "·", bar)
            for bar in bars
        ]

    recorded = (RECORDED / "good.stderr.raw").read_bytes().decode()
    assert [re.sub(r"\s+·", " ·", bar) for bar in shape(run().stderr)] == [
        re.sub(r"\s+·", " ·", bar) for bar in shape(recorded)
    ]


def test_the_weights_have_the_recorded_metadata_and_say_simulated(run: Run, tmp_path: Path) -> None:
    text = (RECORDED / "meta_good_mylora.txt").read_text(encoding="utf-8")
    recorded = dict(re.findall(r"^((?:ss_|sshs_|modelspec\.)\S+) = (.*)$", text, re.MULTILINE))
    run("--network_train_unet_only")
    found = metadata_of(tmp_path / "output" / "mylora.safetensors")
    assert set(found) == {*recorded, "simulated"}
    assert found["simulated"] == "SIMULATED"
    for key in ("ss_steps", "ss_base_model_version", "ss_network_dim", "ss_network_alpha"):
        assert found[key] == recorded[key]
    assert json.loads(found["ss_tag_frequency"]) == {
        "good": {"photo of ohwx woman": 8, "smiling": 8}
    }
    assert json.loads(found["ss_dataset_dirs"]) == json.loads(recorded["ss_dataset_dirs"])


@pytest.mark.parametrize(
    ("trainer", "prefixes"),
    [
        ("train_network", {"lora_unet_down_blocks", "lora_te_text_model"}),
        (
            "sdxl_train_network",
            {"lora_unet_input_blocks", "lora_te1_text_model", "lora_te2_text_model"},
        ),
        (
            "flux_train_network",
            {"lora_unet_double_blocks", "lora_unet_single_blocks", "lora_te1_text_model"},
        ),
    ],
)
def test_the_weights_have_the_familys_tensors_and_are_small(
    run: Run, tmp_path: Path, trainer: str, prefixes: set[str]
) -> None:
    models = {}
    if trainer == "flux_train_network":
        models = dict.fromkeys(("clip_l", "t5xxl", "ae"), tmp_path / "base.safetensors")
    finished = run(trainer=trainer, network_dim=16, save_precision="bf16", **models)
    path = tmp_path / "output" / "mylora.safetensors"
    assert path.is_file(), finished.stderr
    assert path.stat().st_size < 2 * 1024**2
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    assert {"_".join(name.split("_")[:4]) for name in names} == prefixes
    for name in names:
        module = name.partition(".")[0]
        assert shapes[f"{module}.alpha"] == []
        assert shapes[f"{module}.lora_down.weight"][0] == 16
        assert shapes[f"{module}.lora_up.weight"][1] == 16


def test_recorded_tensor_shapes_are_kept(run: Run, tmp_path: Path) -> None:
    text = (RECORDED / "meta_good_mylora.txt").read_text(encoding="utf-8")
    recorded = dict(re.findall(r"^(lora_\S+) (\[.*\]) F32$", text, re.MULTILINE))
    run()
    with safe_open(tmp_path / "output" / "mylora.safetensors", framework="numpy") as file:
        shape = file.get_slice(
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"
        ).get_shape()
    assert (
        str(shape)
        == recorded["lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"]
    )


def test_the_same_seed_gives_the_same_losses_and_weights(run: Run, tmp_path: Path) -> None:
    def outcome(name: str, seed: int) -> tuple[list[str], str]:
        losses = re.findall(r"avr_loss=[\d.]+", run(output_name=name, seed=seed).stderr)
        return losses, metadata_of(tmp_path / "output" / f"{name}.safetensors")["sshs_model_hash"]

    assert outcome("a", 1) == outcome("b", 1)
    assert outcome("a", 1)[1] != outcome("c", 2)[1]


def test_the_loss_moves_as_kohyas_does_to_its_last_bar(run: Run) -> None:
    """The same mean in every bar: a step begins with the loss that the one before ended with."""

    def drawn(stderr: str) -> list[tuple[str, str]]:
        return re.findall(r" (\d+)/\d+ \[[^\]]*avr_loss=([\d.]+)", stderr)

    recorded = (RECORDED / "good_full.stderr.raw").read_text(encoding="utf-8")
    for bars in (drawn(recorded), drawn(run(max_train_steps=60).stderr)):
        steps = dict(bars)  # the last bar of each step
        assert bars[-1] == bars[-2]
        for (step, loss), (before, loss_before) in zip(bars[1:], bars, strict=False):
            if step != before:
                assert loss == loss_before
        losses = [float(loss) for loss in steps.values()]
        jumps = [abs(after - loss) for loss, after in itertools.pairwise(losses)]
        assert jumps[-1] <= max(jumps[:-1])


def test_samples_say_simulated_in_their_pixels(run: Run, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("# comment\nphoto of ohwx woman --w 96 --h 64 --s 2 --d 1\n")
    run(sample_prompts=prompts, sample_every_n_steps=2)
    (path,) = (tmp_path / "output" / "sample").iterdir()
    assert re.fullmatch(r"mylora_000002_00_\d{14}_1\.png", path.name)
    with Image.open(path) as image:
        assert image.size == (96, 64)
        ground = Image.new("RGB", image.size, image.getpixel((0, 0)))
        assert ImageChops.difference(image, ground).getbbox() is not None


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_unknown_option_is_refused_at_once(run: Run, trainer: str) -> None:
    started = time.monotonic()
    finished = run("--no_such_flag", "3", trainer=trainer)
    assert time.monotonic() - started < 2
    assert finished.returncode == 2
    said = f"{trainer}.py: error: unrecognized arguments: --no_such_flag 3"
    assert finished.stderr.splitlines()[-1] == said


def test_a_missing_folder_and_an_empty_one_are_no_error_as_with_kohya(
    run: Run, image_dir: Path, tmp_path: Path
) -> None:
    for path in image_dir.iterdir():
        path.unlink()
    empty = run()
    image_dir.rmdir()
    missing = run()
    for finished in (empty, missing):
        assert finished.returncode == 0
        assert "ERROR    No data found." in finished.stderr
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("img_03.txt", b"", "AssertionError: caption file is empty / "),
        ("img_01.jpg", b"", "ZeroDivisionError: division by zero"),
        ("img_01.jpg", None, "OSError: image file is truncated"),
    ],
)
def test_a_spoilt_file_fails_as_recorded(
    run: Run, image_dir: Path, file: str, content: bytes | None, said: str
) -> None:
    path = image_dir / file
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    finished = run("--cache_latents")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(said)


def test_a_long_narrow_image_fails_at_a_small_resolution_as_with_kohya(
    run: Run, image_dir: Path
) -> None:
    Image.new("RGB", (200, 5000)).save(image_dir / "img_01.jpg")
    finished = run("--cache_latents")
    assert finished.returncode == 1
    assert "select_bucket" in finished.stderr
    assert finished.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_missing_captions_are_only_a_warning(run: Run, image_dir: Path, tmp_path: Path) -> None:
    for path in image_dir.glob("*.txt"):
        path.unlink()
    finished = run()
    assert finished.returncode == 0
    assert "WARNING  neither caption file nor class" in finished.stderr
    metadata = metadata_of(tmp_path / "output" / "mylora.safetensors")
    assert json.loads(metadata["ss_tag_frequency"]) == {"good": {}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"pretrained_model_name_or_path": "/nope"},
            "ValueError: The provided pretrained_model_name",
        ),
        (
            {"optimizer_type": "Nope"},
            "AttributeError: module 'torch.optim' has no attribute 'Nope'",
        ),
        ({"dataset_config": "/nope.toml"}, "ValueError: file not found / "),
    ],
)
def test_wrong_options_fail_as_recorded(run: Run, options: dict[str, str], said: str) -> None:
    finished = run(**options)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(said)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[general\n", "toml.decoder.TomlDecodeError: "),
        ("[general]\nx = 1\n", "voluptuous.error.MultipleInvalid: extra keys not allowed"),
    ],
)
def test_a_bad_dataset_toml_fails_as_recorded(
    run: Run, tmp_path: Path, toml: str, said: str
) -> None:
    (tmp_path / "dataset.toml").write_text(toml)
    assert run().stderr.splitlines()[-1].startswith(said)


def test_what_is_not_simulated_is_said(run: Run) -> None:
    finished = run(resume="/state")
    assert finished.returncode == 1
    assert "does not do --resume" in finished.stderr


def test_a_fault_that_does_not_exist_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", "explode")
    finished = run()
    assert finished.returncode == 1
    assert all(name in finished.stderr for name in ("explode", *FAULTS))


def test_a_nan_loss_goes_on_to_the_end_as_with_kohya(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", "nan")
    finished = run()
    assert finished.returncode == 0
    assert "3/3" in finished.stderr
    assert "avr_loss=nan" in finished.stderr
    assert (tmp_path / "output" / "mylora.safetensors").is_file()
