"""The documents agree with the code, and their links have targets."""

import itertools
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from influencerai_dagster.cli import (
    access,
    datasets,
    doctor,
    influencers,
    jobs,
    loras,
    retention,
    stack_control,
    tenants,
)
from influencerai_dagster.cli.output import Field
from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.definitions import defs
from influencerai_dagster.generation.jobs import PAYLOADS, JobRequest, LoraReference
from influencerai_dagster.orchestration.partitions import content_day_partitions, dataset_partitions
from influencerai_dagster.settings import VARIABLES
from influencerai_dagster_tests.testing.command_tree import all_commands, leaves, options_of
from influencerai_dagster_tests.testing.paths import PROJECT_DIR
from influencerai_dagster_tests.testing.texts import Kind, pieces, repository_files

DOCUMENTS = sorted(PROJECT_DIR / path for path in repository_files() if path.endswith(".md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def code_words(path: Path) -> set[str]:
    """Everything that a document sets in `code`, outside its code blocks."""
    return set(re.findall(r"`([^`\n]+)`", CODE_BLOCK.sub("", path.read_text(encoding="utf-8"))))


def names_in_dagster() -> set[str]:
    graph = defs.resolve_asset_graph()
    pools = {pool for node in graph.asset_nodes for pool in node.pools or ()}
    return {
        *(key.to_user_string() for key in graph.get_all_asset_keys()),
        *(key.name for key in graph.asset_check_keys),
        *(job.name for job in defs.jobs or ()),
        *(sensor.name for sensor in defs.sensors or ()),
        *(item.name or "" for item in (content_day_partitions, dataset_partitions)),
        *pools,
    }


def test_settings_lists_every_setting_in_the_order_of_the_code() -> None:
    text = (PROJECT_DIR / "docs" / "settings.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([A-Z0-9_]+)` \|", text, re.MULTILINE)
    assert listed == list(VARIABLES)


def test_pipeline_names_everything_that_dagster_shows() -> None:
    assert names_in_dagster() - code_words(PROJECT_DIR / "docs" / "pipeline.md") == set()


def test_jobs_names_every_field_and_status() -> None:
    values: tuple[type[BaseModel], ...] = (*PAYLOADS.values(), LoraReference)
    fields = {name for value in values for name in value.model_fields}
    fields |= JobRequest.model_fields.keys() - {"payload"}
    named = code_words(PROJECT_DIR / "docs" / "jobs.md")
    assert (fields | {status.value for status in JobStatus}) - named == set()


def test_cli_names_every_command_with_its_options_and_no_other() -> None:
    text = (PROJECT_DIR / "docs" / "cli.md").read_text(encoding="utf-8")
    documented = {}
    for line in re.findall(r"^\| (`[a-z].*) \|$", text, re.MULTILINE):
        cells = line.split(" | ")
        if len(cells) == 3:
            name = " ".join(word for word in cells[0].strip("`").split() if word.islower())
            options = set(re.findall(r"`(--[a-z-]+)`", cells[2]))
            documented[name] = options ^ {"--json"}  # a row names it where there is none
    assert documented == {path: options_of(command) for path, command in leaves().items()}


def test_cli_says_of_every_command_what_its_help_says() -> None:
    text = (PROJECT_DIR / "docs" / "cli.md").read_text(encoding="utf-8")
    cells = [line.split(" | ") for line in re.findall(r"^\| (`[a-z].*) \|$", text, re.MULTILINE)]
    said = {words[1] for words in cells if len(words) == 3}
    helped = {" ".join(command.help.split("\n\n")[0].split()) for command in leaves().values()}
    assert helped - said == set()


def test_cli_names_every_field_of_a_list() -> None:
    named = code_words(PROJECT_DIR / "docs" / "cli.md")
    modules = (
        access,
        datasets,
        doctor,
        influencers,
        jobs,
        loras,
        retention,
        stack_control,
        tenants,
    )
    fields = {
        field.name
        for module in modules
        for value in vars(module).values()
        if isinstance(value, tuple)
        for field in value
        if isinstance(field, Field)
    }
    assert "job_id" in fields
    assert fields - named == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT_DIR)))
def test_links_lead_somewhere(document: Path) -> None:
    text = CODE_BLOCK.sub("", document.read_text(encoding="utf-8"))
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if not leads_somewhere(document, link)] == []


def leads_somewhere(document: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {anchor_of(heading) for heading in headings}


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_and_image_is_reached_from_the_readme() -> None:
    reached, open_pages = set[Path](), [PROJECT_DIR / "README.md"]
    while open_pages:
        page = open_pages.pop()
        text = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
        links = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
        linked = {(page.parent / link).resolve() for link in links if link} - reached
        reached |= linked
        open_pages += [path for path in linked if path.suffix == ".md"]
    docs = PROJECT_DIR / "docs"
    wanted = {path for ending in ("md", "png", "svg") for path in docs.rglob(f"*.{ending}")}
    assert {str(path.relative_to(docs)) for path in wanted - reached} == set()


def test_no_image_is_larger_than_200_kb() -> None:
    images = [path for path in (PROJECT_DIR / "docs" / "images").iterdir() if path.suffix != ".py"]
    assert [path.name for path in images if path.stat().st_size > 200_000] == []


@pytest.mark.parametrize(
    ("name", "column"),
    [("troubleshooting.md", "symptom"), ("disaster-recovery.md", "it says")],
)
def test_a_text_that_is_quoted_as_a_symptom_is_a_text_of_the_code(name: str, column: str) -> None:
    of_dagster = {"Received unexpected config entry", "at path root:resources"}
    code = "\n".join(
        " ".join(piece.text.split())
        for piece in pieces()
        if piece.kind is Kind.STRING and piece.path.startswith("influencerai_dagster/")
    )
    document = (PROJECT_DIR / "docs" / name).read_text(encoding="utf-8")
    tables = re.findall(rf"^\| {column} \|.*\n((?:\|.*\n)+)", document, re.MULTILINE)
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()[1:]]
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    parts = {
        part.strip() for text in quoted for part in re.split(r"…|'|\bN\b|\d+|<name>| / |: ", text)
    }
    assert len(parts) > 10
    assert {part for part in parts - of_dagster if " " in part and part not in code} == set()


def test_every_command_that_a_text_names_exists_with_its_options() -> None:
    command = re.compile(r"`influencerai ([^`]+)`|^[ $]*influencerai (.+)$", re.MULTILINE)
    named = {
        (piece.path, (match[1] or match[2]).split("#")[0])
        for piece in pieces()
        if piece.kind is not Kind.NAME and not piece.path.startswith("influencerai_dagster_tests/")
        for match in command.finditer(piece.text)
    }
    assert len(named) > 100
    assert {item for item in named if not is_command(item[1])} == set()


def is_command(line: str) -> bool:
    """Tell whether the words begin with a command or group that has all options among them."""
    words = itertools.takewhile(re.compile(r"[a-z]").match, line.split())
    names = list(itertools.accumulate(words, lambda name, word: f"{name} {word}"))
    known = [name for name in ("", *names) if name in all_commands()]
    options = {option for name in known for option in options_of(all_commands()[name])}
    used = set(re.findall(r"(?<!\S)--[a-z-]+", line))
    return len(known) > bool(names) and used <= {*options, "--help", "--json"}
