"""Captions become LoRA weights: trained once per recipe, and never recorded by halves."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine

from influencerai_dagster.core.dataset_rules import RejectReason
from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily, TrainingStep
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest, RejectedUpload
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db import loras as lora_rows
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.records import Lora
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster.storage.manifests import load_unverified
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.captions import CaptionSettings, write_captions
from influencerai_dagster.training.datasets import scan_dataset
from influencerai_dagster.training.loras import Trainer, find_trained, train_lora
from influencerai_dagster.training.recipes import Recipe, make_recipe
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES
from influencerai_dagster_tests.testing.jobs import add_lora
from influencerai_dagster_tests.testing.paths import SIMULATED_KOHYA_DIR
from influencerai_dagster_tests.testing.photos import KEY, RULES, contents, photo, put, upload
from influencerai_dagster_tests.testing.servers import S3Server

CONFIG = PRESETS["sd15-face"].override(
    {
        "base_model": "base.safetensors",
        "resolution": 128,
        "network_dim": 2,
        "network_alpha": 1,
        "optimizer_type": "AdamW",
        "mixed_precision": "no",
        "num_repeats": 2,
        "max_train_steps": 4,
        "save_every_n_steps": None,
        "sample_every_n_steps": None,
    }
)


@dataclass
class TrainingSetUp:
    """A dataset ready to train, and a trainer that is kohya's simulator."""

    engine: Engine
    store: ObjectStore
    trainer: Trainer
    dataset: DatasetManifest
    captions: CaptionsManifest
    steps: list[TrainingStep] = field(default_factory=list)

    def recipe(self, **changes: object) -> Recipe:
        config = CONFIG.override(changes)
        return make_recipe(self.dataset, self.captions, config, self.trainer.models_dir)

    def train(
        self,
        recipe: Recipe | None = None,
        *,
        store: ObjectStore | None = None,
        on_step: Callable[[TrainingStep], None] | None = None,
    ) -> LoraManifest:
        return train_lora(
            self.engine,
            store or self.store,
            self.trainer,
            recipe or self.recipe(),
            on_step=on_step or self.steps.append,
            on_sample=lambda _: None,
        ).manifest

    def find(self, recipe: Recipe | None = None) -> LoraManifest | None:
        found = find_trained(self.engine, recipe or self.recipe(), self.store)
        return found.manifest if found else None

    def newest(self) -> Lora | None:
        with transaction(self.engine) as session:
            return lora_rows.newest_lora(session, "demo", "bella")


@pytest.fixture
def set_up(
    engine: Engine, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TrainingSetUp:
    monkeypatch.setenv("SIMULATOR_KOHYA_SECONDS_PER_STEP", "0.001")
    models_dir = tmp_path / "models"
    write_simulated_base_model(
        models_dir / "checkpoints" / "base.safetensors", CONFIG.base_model_family
    )
    upload(object_store, a_jpg=photo(1), a_png=photo(2, "PNG"), b_jpg=photo(3), b_txt=b"smiling")
    dataset = scan_dataset(object_store, KEY, RULES, lambda _done, _total: None)
    settings = CaptionSettings(trigger_phrase="bella woman", class_caption="woman")
    captions = write_captions(object_store, dataset, settings).manifest
    trainer = Trainer(
        sd_scripts_dir=SIMULATED_KOHYA_DIR,
        python=Path(sys.executable),
        models_dir=models_dir,
        training_dir=tmp_path / "training",
        extra_variables=("SIMULATOR_*",),
    )
    return TrainingSetUp(engine, object_store, trainer, dataset, captions)


def copies(set_up: TrainingSetUp) -> list[Path]:
    """What a training leaves on disk that is large or somebody's photo."""
    endings = {".jpg", ".png", ".webp", ".safetensors"}
    return [path for path in set_up.trainer.training_dir.rglob("*") if path.suffix in endings]


def nothing_left(set_up: TrainingSetUp) -> bool:
    """No copy of an image, no weights anywhere, no object of a LoRA, no row."""
    return not copies(set_up) and contents(set_up.store, "loras/") == {} and set_up.newest() is None


def test_a_training_stores_weights_and_a_manifest_that_says_what_they_are_made_of(
    set_up: TrainingSetUp,
) -> None:
    uploads = contents(set_up.store)
    recipe = set_up.recipe()
    lora = set_up.train(recipe)
    assert set_up.store.read(
        StoredFile(
            object_key=lora.weights_key,
            sha256=lora.weights_sha256,
            size_bytes=lora.weights_size_bytes,
        )
    )
    assert load_unverified(set_up.store, lora.object_key(), LoraManifest).manifest == lora
    assert (lora.dataset_version, lora.captions_version, lora.recipe_version) == (
        set_up.dataset.version,
        set_up.captions.version,
        recipe.version,
    )
    assert (lora.trigger_phrase, lora.steps, lora.is_simulated) == ("bella woman", 4, True)
    assert lora.loss_curve
    row = set_up.newest()
    assert row is not None
    assert (row.lora_id, row.weights_key) == (lora.lora_id, lora.weights_key)
    written = contents(set_up.store)
    assert uploads.items() <= written.items()
    assert written.keys() - uploads.keys() == {lora.weights_key, lora.object_key()}
    assert list(set_up.trainer.training_dir.rglob("*.*")) == [], "its folder is removed"


def test_kohya_gets_a_private_numbered_copy_with_a_caption_for_every_image(
    set_up: TrainingSetUp,
) -> None:
    seen: dict[str, str | tuple[int, int]] = {}

    def look(_: TrainingStep) -> None:
        (folder,) = set_up.trainer.training_dir.glob("demo/*/images")
        for path in folder.iterdir():
            if path.suffix == ".txt":
                seen[path.name] = path.read_text(encoding="utf-8")
            elif path.suffix in {".jpg", ".png"}:
                with Image.open(path) as image:
                    seen[path.name] = image.size

    set_up.train(on_step=look)
    assert seen == {
        "img00001.jpg": (160, 128),
        "img00001.txt": "bella woman, woman\n",
        "img00002.png": (160, 128),
        "img00002.txt": "bella woman, woman\n",
        "img00003.jpg": (160, 128),
        "img00003.txt": "bella woman, smiling\n",
    }


def test_a_recipe_that_was_trained_is_found_and_not_trained_again(set_up: TrainingSetUp) -> None:
    assert set_up.find() is None
    lora = set_up.train()
    assert set_up.find() == lora
    assert set_up.find(set_up.recipe(max_train_steps=5)) is None


def test_a_recipe_that_is_asked_for_again_gives_the_newest_lora_again(
    set_up: TrainingSetUp,
) -> None:
    first = set_up.train()
    other = set_up.train(set_up.recipe(max_train_steps=5))
    newest = set_up.newest()
    assert newest is not None
    assert newest.lora_id == other.lora_id
    set_up.find()
    newest = set_up.newest()
    assert newest is not None
    assert newest.lora_id == first.lora_id


@pytest.mark.parametrize("lost", ["weights", "manifest"])
def test_a_lora_whose_objects_are_lost_is_trained_again_and_found_then(
    set_up: TrainingSetUp, lost: str
) -> None:
    first = set_up.train()
    set_up.store.delete(first.weights_key if lost == "weights" else first.object_key())
    assert set_up.find() is None
    second = set_up.train()
    assert second.lora_id != first.lora_id
    assert set_up.find() == second
    row = set_up.newest()
    assert row is not None
    assert row.lora_id == second.lora_id


def test_of_two_trainings_of_a_recipe_at_once_the_first_to_end_is_the_lora_of_both(
    set_up: TrainingSetUp,
) -> None:
    other: list[LoraManifest] = []

    def meanwhile(_: TrainingStep) -> None:
        if not other:
            other.append(set_up.train())

    assert set_up.train(on_step=meanwhile) == other[0]
    row = set_up.newest()
    assert row is not None
    assert row.lora_id == other[0].lora_id


class Broken(ObjectStore):
    """A real store that dies at the manifest of a LoRA, before or after it was written."""

    def __init__(self, store: ObjectStore, *, is_written: bool) -> None:
        super().__init__(store.client, store.bucket)
        self._is_written = is_written
        self.there: set[str] = set()

    def put_new(self, key: str, data: bytes | Path, **options: Any) -> StoredFile:
        if key.endswith(".json"):
            self.there = {info.key for info in self.list("loras/")}
            if self._is_written:
                super().put_new(key, data, **options)
            raise KeyboardInterrupt
        return super().put_new(key, data, **options)


@pytest.mark.parametrize("is_written", [False, True], ids=["before manifest", "before row"])
def test_a_crash_between_weights_manifest_and_row_leaves_no_half_record(
    set_up: TrainingSetUp, *, is_written: bool
) -> None:
    broken = Broken(set_up.store, is_written=is_written)
    with pytest.raises(KeyboardInterrupt):
        set_up.train(store=broken)
    (weights_key,) = broken.there
    assert weights_key.endswith(".safetensors"), "the weights are there before their manifest"
    assert set_up.newest() is None
    assert set_up.find() is None
    assert copies(set_up) == []
    again = set_up.train()
    assert set_up.find() == again


def test_an_upload_that_was_replaced_after_the_scan_is_not_trained_on(
    set_up: TrainingSetUp,
) -> None:
    put(set_up.store, "b.jpg", photo(9))
    with pytest.raises(PermanentError, match=r"b\.jpg was replaced after its dataset was scanned"):
        set_up.train()
    assert set_up.steps == []
    assert nothing_left(set_up)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("nan", PermanentError), ("truncated", PermanentError), ("sigkill", TransientError)],
)
def test_a_training_that_fails_leaves_its_log_and_nothing_else(
    set_up: TrainingSetUp, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[Exception]
) -> None:
    monkeypatch.setenv("SIMULATOR_KOHYA_FAULT", fault)
    with pytest.raises(error) as caught:
        set_up.train()
    assert nothing_left(set_up)
    (log,) = set_up.trainer.training_dir.rglob("*.log")
    assert str(log.parent) in str(caught.value)


def test_a_training_that_is_stopped_leaves_nothing(set_up: TrainingSetUp) -> None:
    def stop(_: TrainingStep) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        set_up.train(on_step=stop)
    assert nothing_left(set_up)


def test_an_unknown_tenant_is_told_before_a_gpu_works_for_it(set_up: TrainingSetUp) -> None:
    set_up.dataset = set_up.dataset.model_copy(update={"tenant": "nobody"})
    with pytest.raises(PermanentError, match="tenant 'nobody' is unknown"):
        set_up.train()
    assert set_up.steps == []


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_manifest_with_a_hostile_name_makes_no_folder(set_up: TrainingSetUp, name: str) -> None:
    recipe = set_up.recipe()
    for changes in ({"tenant": name}, {"dataset": name}):
        set_up.dataset = recipe.dataset.model_copy(update=changes)
        with pytest.raises(PermanentError, match="is not allowed"):
            set_up.train()
    assert not set_up.trainer.training_dir.exists()


def test_captions_of_another_dataset_version_are_refused(set_up: TrainingSetUp) -> None:
    set_up.captions = set_up.captions.model_copy(update={"dataset_version": "0" * 32})
    with pytest.raises(PermanentError, match="Materialize `captions` first"):
        set_up.recipe()


def test_an_image_without_a_caption_is_named(set_up: TrainingSetUp) -> None:
    fewer = set_up.captions.model_copy(update={"captions": set_up.captions.captions[1:]})
    set_up.captions = fewer
    with pytest.raises(PermanentError, match=r"1 images of demo/bella have no caption.*a\.jpg"):
        set_up.train()
    assert nothing_left(set_up)


def test_a_base_model_of_another_family_than_the_config_says_is_refused(
    set_up: TrainingSetUp,
) -> None:
    path = set_up.trainer.models_dir / "checkpoints" / "xl.safetensors"
    write_simulated_base_model(path, BaseModelFamily.SDXL)
    with pytest.raises(PermanentError, match=r"xl\.safetensors is sdxl, .* config says sd15"):
        set_up.recipe(base_model="xl.safetensors")


def test_what_is_not_trained_on_is_no_part_of_the_recipe(set_up: TrainingSetUp) -> None:
    before = set_up.recipe().version
    rejected = RejectedUpload(file_name="b.jpg", reason=RejectReason.UNREADABLE, detail="cut off")
    set_up.dataset = DatasetManifest.build(
        set_up.dataset.key, images=set_up.dataset.images, rejected=(rejected,), rights=None
    )
    set_up.captions = set_up.captions.model_copy(update={"dataset_version": set_up.dataset.version})
    assert set_up.recipe().version == before
    set_up.dataset = DatasetManifest.build(
        set_up.dataset.key, images=set_up.dataset.images[1:], rejected=(rejected,), rights=None
    )
    set_up.captions = set_up.captions.model_copy(update={"dataset_version": set_up.dataset.version})
    assert set_up.recipe().version != before


def test_an_image_that_kohya_has_no_bucket_for_is_left_out_and_the_others_are_trained(
    set_up: TrainingSetUp,
) -> None:
    put(set_up.store, "screenshot.png", photo(9, "PNG", (100, 2500)))
    set_up.dataset = scan_dataset(set_up.store, KEY, RULES, lambda _done, _total: None)
    settings = CaptionSettings(trigger_phrase="bella woman", class_caption="woman")
    set_up.captions = write_captions(set_up.store, set_up.dataset, settings).manifest
    recipe = set_up.recipe()
    assert [image.file_name for image in recipe.left_out] == ["screenshot.png"]
    assert [image.file_name for image in recipe.images] == ["a.jpg", "a.png", "b.jpg"]
    assert set_up.train(recipe).steps == 4


def test_a_dataset_of_which_no_image_has_a_bucket_is_refused_before_a_training(
    set_up: TrainingSetUp,
) -> None:
    for image in set_up.dataset.images:
        set_up.store.delete(image.object_key)
    put(set_up.store, "screenshot.png", photo(9, "PNG", (100, 2500)))
    set_up.dataset = scan_dataset(set_up.store, KEY, RULES, lambda _done, _total: None)
    settings = CaptionSettings(trigger_phrase="bella woman", class_caption="woman")
    set_up.captions = write_captions(set_up.store, set_up.dataset, settings).manifest
    with pytest.raises(PermanentError, match=r"screenshot\.png has 100×2500 px.*less than 64 px"):
        set_up.recipe()


def test_a_recipe_changes_with_the_base_models_content(set_up: TrainingSetUp) -> None:
    before = set_up.recipe().version
    path = set_up.trainer.models_dir / "checkpoints" / "base.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert set_up.recipe().version != before


def test_the_lora_of_another_tenant_is_not_the_result_of_this_ones_recipe(
    set_up: TrainingSetUp, s3_server: S3Server
) -> None:
    theirs = add_lora(set_up.engine, s3_server.store(set_up.store.bucket), tenant="other")
    mine = set_up.train()
    assert mine.tenant == "demo"
    assert mine.weights_key.startswith("loras/demo/")
    with transaction(set_up.engine) as session:
        assert lora_rows.find_by_recipe(session, "demo", theirs.recipe_version) is None
        assert lora_rows.find_by_recipe(session, "other", mine.recipe_version) is None
