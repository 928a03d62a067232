"""The sample photos are what local/samples/draw.py draws, and a dataset takes all but two."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from PIL import ImageChops, ImageStat

from influencerai_dagster.core.dataset_rules import DatasetRules, RejectReason
from influencerai_dagster.core.manifests.captions import MAX_CAPTION_LENGTH
from influencerai_dagster.core.manifests.dataset import Rights
from influencerai_dagster.local import samples
from influencerai_dagster.local.samples import BELLA_DIR as BELLA
from influencerai_dagster.media.images import MeasuredImage, Reject, measure_upload, upright_rgb

RULES = DatasetRules(min_side_px=512)
IMAGES = sorted(path for path in BELLA.iterdir() if path.suffix in {".jpg", ".png"})
TAKEN = IMAGES[:12]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples") / "bella"
    subprocess.run(
        [sys.executable, "-m", f"{samples.__name__}.draw", folder], check=True, timeout=100
    )
    return folder


def measured(path: Path) -> MeasuredImage | Reject:
    return measure_upload(path.read_bytes(), RULES)


def test_the_script_writes_the_committed_files_and_no_others(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.iterdir()) == sorted(
        path.name for path in BELLA.iterdir()
    )


@pytest.mark.parametrize("committed", TAKEN, ids=lambda path: path.name)
def test_a_committed_image_is_the_one_that_is_drawn(drawn: Path, committed: Path) -> None:
    images = []
    for path in (committed, drawn / committed.name):
        with upright_rgb(path.read_bytes()) as image:
            images.append(image.copy())
    assert images[0].size == images[1].size
    # Another Pillow may round an edge or code a JPEG otherwise; another image differs by more.
    assert max(ImageStat.Stat(ImageChops.difference(*images)).mean) < 1


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_committed_texts_are_those_that_are_written(drawn: Path, suffix: str) -> None:
    texts = sorted(BELLA.glob(f"*{suffix}"))
    assert texts
    for path in texts:
        assert path.read_bytes() == (drawn / path.name).read_bytes()


def test_every_image_is_small_and_large_enough() -> None:
    assert len(IMAGES) == 14
    assert max(path.stat().st_size for path in IMAGES) <= 60_000
    assert all(isinstance(measured(path), MeasuredImage) for path in TAKEN)


def test_no_two_images_look_alike() -> None:
    found = [measured(path) for path in TAKEN]
    hashes = [int(image.perceptual_hash, 16) for image in found if isinstance(image, MeasuredImage)]
    assert min((one ^ other).bit_count() for one, other in combinations(hashes, 2)) > 6


def test_the_copy_has_the_bytes_of_its_original() -> None:
    copied = (BELLA / "bella-13-copy.jpg").read_bytes()
    assert copied == (BELLA / "bella-03.jpg").read_bytes()


def test_the_broken_image_is_rejected_as_unreadable() -> None:
    result = measured(BELLA / "bella-14-broken.jpg")
    assert isinstance(result, Reject)
    assert result.reason is RejectReason.UNREADABLE


def test_four_images_have_captions_of_one_line() -> None:
    captions = sorted(BELLA.glob("*.txt"))
    assert len(captions) == 4
    for path in captions:
        assert path.stem in {image.stem for image in TAKEN}
        assert 0 < len(path.read_text("utf-8").strip()) <= MAX_CAPTION_LENGTH
        assert len(path.read_text("utf-8").splitlines()) == 1


def test_rights_say_that_the_subject_is_synthetic() -> None:
    rights = Rights.model_validate_json((BELLA / "rights.json").read_bytes())
    assert (rights.subject, rights.licence) == ("synthetic", "CC0-1.0")
