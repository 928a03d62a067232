"""`influencerai tenant | influencer | dataset | lora`: what they write, and what they refuse."""

import json
from pathlib import Path

import pytest

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.scheduling import GpuShareRow
from influencerai_dagster.db.tenants import get_influencer, list_tenants
from influencerai_dagster.training.lora_configs import resolve_lora_config
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES

# A program's argument cannot hold NUL, and a leading dash is an option to every command line.
NAMES = {
    name: value for name, value in HOSTILE_NAMES.items() if name not in {"nul", "leading dash"}
}
MARKUP = {"rich markup": "[/]", "a style": "[red]demo[/red]"}


def tenants(cli: CommandLine) -> list[str]:
    with transaction(cli.engine) as session:
        return [tenant.id for tenant in list_tenants(session)]


@pytest.fixture
def demo(cli: CommandLine) -> CommandLine:
    """The command line after `tenant add demo`."""
    assert cli("tenant", "add", "demo").exit_code == 0
    return cli


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "bella"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "a.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_tenant_is_added_once(cli: CommandLine) -> None:
    first, second = cli("tenant", "add", "demo"), cli("tenant", "add", "demo")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "tenant demo added" in first
    assert "tenant demo exists already" in second
    assert tenants(cli) == ["demo"]
    assert "demo" in cli("tenant", "list")


def test_a_tenant_is_added_with_a_weight_that_can_be_changed_and_is_listed(
    cli: CommandLine,
) -> None:
    assert cli("tenant", "add", "demo", "--gpu-weight", "2").exit_code == 0
    assert "2.0 0.0" in cli("tenant", "list")
    assert "has GPU weight 0.5" in cli("tenant", "set-weight", "demo", "0.5")
    with transaction(cli.engine) as session:
        session.add(GpuShareRow(tenant_id="demo", used_seconds=1234.56))
    assert "0.5 1234.56" in cli("tenant", "list")


@pytest.mark.parametrize(
    "command",
    [("tenant", "add", "demo", "--gpu-weight", "0"), ("tenant", "set-weight", "other", "1001")],
    ids=["add", "set"],
)
def test_a_weight_that_shares_nothing_is_refused(cli: CommandLine, command: list[str]) -> None:
    assert cli("tenant", "add", "other").exit_code == 0
    answer = cli(*command)
    assert answer.exit_code == 1
    assert "use a number above 0 and at most 1000" in answer
    assert tenants(cli) == ["other"]


@pytest.mark.parametrize("name", (NAMES | MARKUP).values(), ids=NAMES | MARKUP)
def test_a_hostile_tenant_name_is_refused_in_words_and_adds_nothing(
    cli: CommandLine, name: str
) -> None:
    answer = cli("tenant", "add", name)
    assert answer.exit_code == 1
    assert "error: tenant name" in answer
    assert repr(name[:80]) in answer
    assert "Traceback" not in answer
    assert tenants(cli) == []


def test_a_command_without_its_arguments_shows_how_it_is_used(cli: CommandLine) -> None:
    answer = cli("tenant", "add")
    assert answer.exit_code == 2
    assert "Missing argument" in answer


def test_an_influencer_is_added_and_changed(demo: CommandLine, tmp_path: Path) -> None:
    persona = tmp_path / "persona.json"
    persona.write_text(json.dumps({"voice": "warm"}))
    command = ("influencer", "add", "bella", "--tenant", "demo")

    assert demo(*command).exit_code == 0
    with transaction(demo.engine) as session:
        bella = get_influencer(session, "demo", "bella")
    assert (bella.dataset, bella.trigger_phrase, bella.class_caption) == (
        "bella",
        "bella",
        "person",
    )

    changes = ("--class-caption", "woman", "--persona", persona, "--dataset", "photos")
    assert "saved" in demo(*command, *changes)
    with transaction(demo.engine) as session:
        bella = get_influencer(session, "demo", "bella")
    assert (bella.dataset, bella.class_caption) == ("photos", "woman")
    assert bella.persona == {"voice": "warm"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"{", "is not JSON", id="no JSON"),
        pytest.param(b"\xff\xfe", "is not UTF-8", id="no UTF-8"),
        pytest.param(b"[1]", "must be an object in JSON", id="no object"),
        pytest.param(None, "There is no file", id="no file"),
    ],
)
def test_a_persona_that_cannot_be_used_is_named(
    demo: CommandLine, tmp_path: Path, content: bytes | None, says: str
) -> None:
    persona = tmp_path / "persona.json"
    if content is not None:
        persona.write_bytes(content)
    answer = demo("influencer", "add", "bella", "--tenant", "demo", "--persona", persona)
    assert answer.exit_code == 1
    assert says in answer
    assert str(persona) in answer


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("influencer", "add", "bella"), id="influencer"),
        pytest.param(("lora", "config", "soft"), id="LoRA config"),
        pytest.param(("dataset", "upload", "bella"), id="dataset"),
    ],
)
def test_a_tenant_that_is_not_there_is_refused_with_how_to_add_it(
    cli: CommandLine, photos: Path, command: tuple[str, ...]
) -> None:
    assert photos.name == "bella"
    answer = cli(*command, "--tenant", "nobody")
    assert answer.exit_code == 1
    assert "`influencerai tenant add nobody`" in answer
    assert list(cli.store.list("")) == []


def test_a_folder_is_uploaded_once_and_only_what_changed_again(
    demo: CommandLine, photos: Path
) -> None:
    command = ("dataset", "upload", photos, "--tenant", "demo")
    assert "3 files sent to dataset demo/bella, 0 were there already" in demo(*command)
    assert "0 files sent to dataset demo/bella, 3 were there already" in demo(*command)
    (photos / "b.jpg").write_bytes(b"another photo")
    assert "1 files sent to dataset demo/bella, 2 were there already" in demo(*command)
    assert demo.store.get("datasets/demo/bella/images/b.jpg") == b"another photo"
    assert len(list(demo.store.list(""))) == 3


def test_a_folder_can_become_a_dataset_of_another_name(demo: CommandLine, photos: Path) -> None:
    answer = demo("dataset", "upload", photos, "--tenant", "demo", "--dataset", "winter")
    assert "dataset demo/winter" in answer
    assert demo.store.head("datasets/demo/winter/images/a.jpg") is not None


def test_captions_that_belong_to_no_image_are_said_before_anything_is_sent(
    demo: CommandLine, photos: Path
) -> None:
    (photos / "holiday.txt").write_text("bella at the beach")
    command = ("dataset", "upload", photos, "--tenant", "demo")
    answer = demo(*command)
    assert answer.exit_code == 1
    for words in ("1 caption files", "holiday.txt: no image has its name", "--skip-unpaired"):
        assert words in answer
    assert list(demo.store.list("")) == []
    assert "3 files sent to dataset demo/bella" in demo(*command, "--skip-unpaired")
    assert demo.store.head("datasets/demo/bella/images/holiday.txt") is None


def test_captions_may_come_after_their_images(demo: CommandLine, photos: Path) -> None:
    demo("dataset", "upload", photos, "--tenant", "demo")
    texts = photos.parent / "texts"
    texts.mkdir()
    (texts / "B.TXT").write_text("bella at the beach")
    answer = demo("dataset", "upload", texts, "--tenant", "demo", "--dataset", "bella")
    assert "1 files sent to dataset demo/bella" in answer


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(None, "is not a folder", id="no such folder"),
        pytest.param("empty", "nothing to upload", id="empty folder"),
        pytest.param("bad\nname.jpg", "cannot be uploaded", id="hostile file name"),
    ],
)
def test_a_folder_that_cannot_be_uploaded_sends_nothing(
    demo: CommandLine, tmp_path: Path, make: str | None, says: str
) -> None:
    folder = tmp_path / "folder"
    if make is not None:
        folder.mkdir()
    if make not in {None, "empty"}:
        (folder / "a.jpg").write_bytes(b"a photo")
        (folder / str(make)).write_bytes(b"a photo")
    answer = demo("dataset", "upload", folder, "--tenant", "demo")
    assert answer.exit_code == 1
    assert says in answer
    assert list(demo.store.list("")) == []


@pytest.mark.parametrize(
    "name",
    [value for name, value in NAMES.items() if name != "empty"],
    ids=[name for name in NAMES if name != "empty"],
)
def test_a_hostile_dataset_name_sends_nothing(demo: CommandLine, photos: Path, name: str) -> None:
    answer = demo("dataset", "upload", photos, "--tenant", "demo", "--dataset", name)
    assert answer.exit_code == 1
    assert "error: dataset name" in answer
    assert list(demo.store.list("")) == []


def test_a_store_that_is_away_ends_the_upload_with_words(demo: CommandLine, photos: Path) -> None:
    demo.environment.setenv("S3_BUCKET", "no-such-bucket")
    answer = demo("dataset", "upload", photos, "--tenant", "demo")
    assert answer.exit_code == 1
    assert "no-such-bucket" in answer


def test_a_lora_config_is_what_the_next_training_takes(demo: CommandLine) -> None:
    overrides = json.dumps({"max_train_steps": 50})
    command = ("lora", "config", "quick", "--tenant", "demo", "--overrides", overrides)
    assert "LoRA config quick of tenant demo saved" in demo(*command, "--default")
    with transaction(demo.engine) as session:
        assert resolve_lora_config(session, "demo", None, "sdxl-face").max_train_steps == 50


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        pytest.param("--overrides", "{", "--overrides is not JSON", id="no JSON"),
        pytest.param("--overrides", "[1]", "must be an object in JSON", id="no object"),
        pytest.param("--overrides", '{"max_train_steps": -1}', "max_train_steps: ", id="value"),
        pytest.param("--overrides", '{"max_train_stepz": 1}', "max_train_steps", id="field"),
        pytest.param("--preset", "sd15-hands", "sd15-face", id="preset"),
    ],
)
def test_a_lora_config_that_cannot_be_used_is_refused_with_its_field(
    demo: CommandLine, option: str, value: str, says: str
) -> None:
    answer = demo("lora", "config", "quick", "--tenant", "demo", option, value)
    assert answer.exit_code == 1
    assert says in answer
