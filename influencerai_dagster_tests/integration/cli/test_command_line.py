"""The program as a whole: help, version, imports, examples, and what is said when nothing runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from influencerai_dagster.cli import COMMANDS, app, output
from influencerai_dagster.cli.examples import EXAMPLES
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.local.processes import STACK_ID
from influencerai_dagster_tests.testing.catalog_rows import submit_one
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.command_tree import all_commands, leaves, parse
from influencerai_dagster_tests.testing.ports import free_port

HEAVY = ("alembic", "boto3", "dagster", "grpc", "httpx", "numpy", "PIL", "tenacity", "websockets")
NEEDS_NO_DATABASE = (*HEAVY, "psycopg2", "pydantic", "sqlalchemy")
BACKUPS = r"dagster\.backup\.(database|verification|restore)"
LISTS = [
    "tenant list",
    "influencer list --tenant acme",
    "lora list --tenant acme",
    "jobs list --tenant acme",
]
NEED_SERVERS = [
    "tenant list",
    "tenant add acme",
    "influencer add nova --tenant acme",
    "dataset upload . --tenant acme",
    "lora config quick --tenant acme",
    "jobs list --tenant acme",
    "jobs watch --once",
    "generate --tenant acme --prompt nova",
    "retention report",
    "backup now",
    "migrate",
    "doctor",
]


def python(code: str) -> str:
    """What a new Python process prints."""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return answer.stdout.decode()


def test_the_help_imports_no_command() -> None:
    found = python(
        "import sys, influencerai_dagster.cli as cli\n"
        "try: cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print('\\nMODULES', *sys.modules)"
    )
    assert "Generation jobs." in found
    modules = set(found.rpartition("MODULES")[2].split())
    assert [name for name in NEEDS_NO_DATABASE if name in modules] == []


@pytest.mark.parametrize("command", LISTS)
def test_a_list_imports_the_database_and_no_other_library_that_is_slow_to_import(
    cli: CommandLine, command: str
) -> None:
    with transaction(cli.engine) as session:
        add_tenant(session, "acme")
    found = python(
        "import sys, influencerai_dagster.cli as cli\n"
        f"try: cli.app({command.split()})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('\\nMODULES', *sys.modules)"
    )
    modules = set(found.rpartition("MODULES")[2].split())
    assert "sqlalchemy" in modules
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize("module", ["tenants", "jobs", "datasets", "retention"])
def test_a_command_does_not_import_backups_or_migrations(module: str) -> None:
    found = python(f"import sys, influencerai_dagster.cli.{module}\nprint(*sys.modules)").split()
    assert [name for name in found if name == "alembic" or re.search(BACKUPS, name)] == []


def test_the_line_of_a_command_in_the_help_is_its_own() -> None:
    found = all_commands()
    own = {name: found[name].help.splitlines()[0] for name in COMMANDS}
    assert own == {name: command.help for name, command in COMMANDS.items()}


def test_every_command_has_examples_and_every_example_can_be_parsed() -> None:
    assert set(leaves()) - set(EXAMPLES) == set()
    assert set(EXAMPLES) - set(all_commands()) == set()
    for examples in EXAMPLES.values():
        for example in examples:
            parse(example)


def test_a_flag_is_not_shown_as_if_it_took_a_value() -> None:
    for path in all_commands():
        shown = CliRunner().invoke(app, [*path.split(), "--help"]).output
        assert "<bool>" not in shown, path


def test_the_version_is_printed() -> None:
    answer = CliRunner().invoke(app, ["--version"])
    assert re.fullmatch(r"influencerai \d+\.\d+\S*\n", answer.output)


def test_commands_can_be_completed_by_a_shell() -> None:
    environment = {
        **os.environ,
        "_INFLUENCERAI_COMPLETE": "complete_bash",
        "COMP_WORDS": "influencerai jobs ca",
        "COMP_CWORD": "2",
    }
    program = Path(sys.executable).with_name("influencerai")
    answer = subprocess.run([program], env=environment, capture_output=True, check=False)
    assert answer.stdout.decode().split() == ["cancel"]


@pytest.fixture
def no_stack(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """The command line where no server is named; its DATA_DIR is the folder `data`."""
    cli.environment.delenv("DATABASE_URL")
    cli.environment.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return cli


@pytest.mark.parametrize("command", NEED_SERVERS)
def test_a_command_says_which_stack_does_not_run_and_how_to_start_it(
    no_stack: CommandLine, tmp_path: Path, command: str
) -> None:
    answer = no_stack(*command.split())
    assert answer.exit_code == 1
    assert f"error: No stack runs in {tmp_path / 'data'}" in answer
    assert "`make up`" in answer
    assert "5432" not in answer.text
    assert "S3_KEY" not in answer.text
    assert answer.text.count("\n") <= 1


def test_a_stack_that_was_killed_is_named_with_its_address(
    no_stack: CommandLine, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "data" / "stack.env").write_text(
        f"DATABASE_URL='postgresql://influencerai:secret@127.0.0.1:{port}/influencerai'\n"
    )
    answer = no_stack("tenant", "list")
    assert answer.exit_code == 1
    assert f"PostgreSQL does not answer at 127.0.0.1:{port}" in answer
    assert "`make up`" in answer
    assert "secret" not in answer.text


def test_a_stack_that_runs_in_another_folder_is_named(
    no_stack: CommandLine, tmp_path: Path
) -> None:
    elsewhere = str(tmp_path / "else where")
    environment = {**os.environ, STACK_ID: "test", "DATA_DIR": elsewhere}
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE
    )
    try:
        assert f"DATA_DIR='{elsewhere}'" in no_stack("tenant", "list")
    finally:
        process.communicate()


def test_a_server_that_is_named_and_away_is_told_of_and_no_stack(cli: CommandLine) -> None:
    cli.environment.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    answer = cli("tenant", "list")
    assert answer.exit_code == 1
    assert "PostgreSQL cannot be reached: connection to server" in answer
    assert "DATABASE_URL names it" in answer
    assert "make up" not in answer.text


@pytest.fixture
def demo(cli: CommandLine) -> CommandLine:
    with transaction(cli.engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
    return cli


@pytest.mark.parametrize(
    "command",
    [
        "tenant show demoo",
        "tenant set-weight demoo 2",
        "influencer list --tenant demoo",
        "influencer show x --tenant demoo",
        "jobs list --tenant demoo",
        "jobs show 92ff33aa-68e1-4f63-9292-afaff94898db --tenant demoo",
        "jobs link 92ff33aa-68e1-4f63-9292-afaff94898db --tenant demoo",
        "jobs cancel 92ff33aa-68e1-4f63-9292-afaff94898db --tenant demoo",
        "jobs cancel --all --tenant demoo",
        "jobs watch --once --tenant demoo",
        "retention days 3 --tenant demoo",
        "retention hold --tenant demoo",
        "retention hold --tenant demoo --job 92ff33aa-68e1-4f63-9292-afaff94898db",
        "lora config quick --tenant demoo",
        "generate --tenant demoo --prompt x",
    ],
)
def test_an_unknown_tenant_is_told_the_same_way_everywhere(demo: CommandLine, command: str) -> None:
    answer = demo(*command.split())
    assert answer.exit_code == 1
    assert (
        "error: tenant 'demoo' is unknown; add it with `influencerai tenant add demoo`. Did you "
        "mean 'demo'? The tenants are demo, other"
    ) in answer


def test_a_list_in_a_pipe_has_a_line_for_each_row_and_whole_ids(demo: CommandLine) -> None:
    job = submit_one(demo.engine)
    demo.environment.setattr(output.console, "width", 80)
    lines = demo("jobs", "list", "--tenant", "demo").text.splitlines()
    assert lines[0].split("\t")[0] == "job_id"
    assert [line.split("\t")[:3] for line in lines[1:]] == [[str(job.id), "image", "pending"]]


def test_a_list_on_a_narrow_terminal_has_whole_ids(demo: CommandLine) -> None:
    job = submit_one(demo.engine)
    demo.environment.setattr(output.console, "width", 80)
    demo.environment.setattr(output.console, "_force_terminal", True)
    assert str(job.id) in demo("jobs", "list", "--tenant", "demo").text


def test_a_list_is_one_json_document_with_times_in_utc(demo: CommandLine) -> None:
    job = submit_one(demo.engine)
    (found,) = json.loads(demo("jobs", "list", "--tenant", "demo", "--json").out)
    assert found["job_id"] == str(job.id)
    assert found["submitted_at"] == job.created_at.isoformat().replace("+00:00", "Z")
    assert json.loads(demo("tenant", "list", "--json").out)[0]["tenant"] == "demo"


@pytest.mark.parametrize(
    "command",
    [
        "tenant list",
        "tenant show demo",
        "influencer list --tenant demo",
        "dataset list --tenant demo",
        "lora list --tenant demo",
        "jobs list --tenant demo",
        "jobs watch",
        "retention report",
        "backup list",
        "logs",
        "open --no-browser",
        "tenant add third",
        "influencer add nova --tenant demo",
        "lora config quick --tenant demo",
        "retention days 3 --tenant demo",
        "retention hold --tenant demo",
        "jobs cancel --all --tenant demo",
        "down",
    ],
)
def test_a_command_prints_one_json_document(demo: CommandLine, command: str) -> None:
    demo.environment.setenv("COMFYUI_URL", f"http://127.0.0.1:{free_port()}")
    answer = demo(*command.split(), "--json")
    assert answer.exit_code == 0, answer.text
    assert json.loads(answer.out) is not None


def test_a_note_in_a_pipe_is_one_line_however_long_it_is() -> None:
    program = "from influencerai_dagster.cli.output import notes; notes.print('word ' * 60)"
    reported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True
    ).stderr
    assert reported.count(b"\n") == 1


@pytest.mark.parametrize(
    "command",
    ["show", "link", "cancel", "retry", "download"],
)
def test_the_short_id_of_a_contact_sheet_is_told_to_be_no_whole_one(
    cli: CommandLine, command: str
) -> None:
    answer = cli("jobs", command, "432d35d1", "--tenant", "demo")
    assert answer.exit_code == 2
    assert "'432d35d1' is not a whole job id" in answer
