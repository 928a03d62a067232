import sys
from pathlib import Path
from typing import Any

import pytest

from influencerai_dagster.engines.kohya.captioners import BlipCaptioner, Wd14Captioner
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.kohya_trainings import SIMULATOR_DIR

# A tool that writes down its arguments and its folder, and otherwise does what `DO` says.
TOOL = """
import json, os, sys
from pathlib import Path
folder = Path(sys.argv[-1])
Path({seen!r}).write_text(json.dumps([sys.argv[1:-1], sorted(os.listdir(folder)), os.getcwd()]))
for image in folder.iterdir():
    if image.suffix == ".png":
        image.with_suffix(".txt").write_text({caption!r})
"""


def make(kind: str, tmp_path: Path, **changes: Any) -> BlipCaptioner | Wd14Captioner:
    settings = {
        "sd_scripts_dir": SIMULATOR_DIR,
        "python": Path(sys.executable),
        "work_dir": tmp_path / "captioning",
        "extra_variables": ("SIMULATOR_*",),
        **changes,
    }
    if kind == "blip":
        return BlipCaptioner(**settings)
    return Wd14Captioner(**settings, model_dir=tmp_path / "wd14")


def fake_tool(tmp_path: Path, caption: str) -> tuple[Path, Path]:
    seen = tmp_path / "seen.json"
    scripts = tmp_path / "sd-scripts"
    (scripts / "finetune").mkdir(parents=True)
    for name in ("make_captions.py", "tag_images_by_wd14_tagger.py"):
        (scripts / "finetune" / name).write_text(TOOL.format(seen=str(seen), caption=caption))
    return scripts, seen


@pytest.mark.parametrize("kind", ["blip", "wd14"])
def test_every_image_gets_a_caption_and_the_folder_stays_as_it_was(
    tmp_path: Path, image_dir: Path, kind: str
) -> None:
    before = {path.name: path.read_bytes() for path in image_dir.iterdir()}
    captions = make(kind, tmp_path).caption(image_dir)
    assert set(captions) == {"img0.png", "img1.png", "img2.png"}
    assert all("simulated" in text and "\n" not in text for text in captions.values())
    assert {path.name: path.read_bytes() for path in image_dir.iterdir()} == before
    assert not list((tmp_path / "captioning").glob("images-*"))


def test_two_images_of_one_stem_get_a_caption_each(tmp_path: Path, image_dir: Path) -> None:
    (image_dir / "img0.png").rename(image_dir / "img2.PNG")
    captions = make("blip", tmp_path).caption(image_dir)
    assert captions["img2.PNG"] != captions["img2.png"]


def test_blip_is_asked_for_txt_files_in_the_folder_of_sd_scripts(
    tmp_path: Path, image_dir: Path
) -> None:
    scripts, seen = fake_tool(tmp_path, "a woman\n")
    make("blip", tmp_path, sd_scripts_dir=scripts).caption(image_dir)
    text = seen.read_text()
    assert "--caption_extension=.txt" in text
    assert str(scripts) in text


def test_wd14_is_run_with_its_options(tmp_path: Path, image_dir: Path) -> None:
    scripts, seen = fake_tool(tmp_path, "solo\n")
    make("wd14", tmp_path, sd_scripts_dir=scripts).caption(image_dir)
    text = seen.read_text()
    for option in (
        "--onnx",
        "--repo_id=SmilingWolf/wd-swinv2-tagger-v3",
        "--remove_underscore",
        "--thresh=0.35",
        "--caption_extension=.txt",
    ):
        assert f'"{option}"' in text
    assert "--force_download" not in text


@pytest.mark.parametrize(
    ("files", "is_fetched_again"),
    [((), True), (("selected_tags.csv",), True), (("selected_tags.csv", "model.onnx"), False)],
    ids=["empty", "half", "whole"],
)
def test_a_half_downloaded_model_is_fetched_again(
    tmp_path: Path,
    image_dir: Path,
    files: tuple[str, ...],
    is_fetched_again: bool,  # noqa: FBT001 - a parameter
) -> None:
    folder = tmp_path / "wd14" / "SmilingWolf_wd-swinv2-tagger-v3"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    scripts, seen = fake_tool(tmp_path, "solo\n")
    make("wd14", tmp_path, sd_scripts_dir=scripts).caption(image_dir)
    assert ("--force_download" in seen.read_text()) == is_fetched_again


def test_an_image_that_the_tool_has_no_words_for_is_left_out(
    tmp_path: Path, image_dir: Path
) -> None:
    scripts, _ = fake_tool(tmp_path, "\n")
    assert make("wd14", tmp_path, sd_scripts_dir=scripts).caption(image_dir) == {}


@pytest.mark.parametrize("kind", ["blip", "wd14"])
def test_an_image_that_the_tool_could_not_read_is_named(
    tmp_path: Path, image_dir: Path, kind: str
) -> None:
    (image_dir / "img1.png").write_bytes(b"broken")
    with pytest.raises(PermanentError, match=r"no caption for 1 of 3 images.*'img1\.png'"):
        make(kind, tmp_path).caption(image_dir)


@pytest.mark.parametrize("kind", ["blip", "wd14"])
def test_a_model_that_cannot_be_downloaded_is_told(
    tmp_path: Path, image_dir: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", "offline")
    with pytest.raises(PermanentError, match="model that has to be downloaded"):
        make(kind, tmp_path).caption(image_dir)


def test_a_folder_without_images_needs_no_tool(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert make("blip", tmp_path).caption(tmp_path / "empty") == {}


def test_a_folder_that_is_not_sd_scripts_is_named(tmp_path: Path, image_dir: Path) -> None:
    with pytest.raises(PermanentError, match="KOHYA_DIR"):
        make("blip", tmp_path, sd_scripts_dir=tmp_path).caption(image_dir)
