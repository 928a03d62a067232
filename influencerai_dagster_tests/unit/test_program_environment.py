"""What programs that we start get of our environment."""

import ast
import os
from pathlib import Path

import pytest

import influencerai_dagster
from influencerai_dagster.local.environment import child_environment
from influencerai_dagster.program_environment import (
    MACHINE_LEARNING,
    NETWORK,
    POSTGRES_CLIENT,
    UTC,
    ignore_postgres_variables,
    program_environment,
    without_postgres_variables,
)
from influencerai_dagster.settings import VARIABLES, load_settings

PACKAGE = Path(influencerai_dagster.__file__).parent
OURS = dict.fromkeys(VARIABLES, "x") | {"AWS_SECRET_ACCESS_KEY": "x"}
EVERY_GROUP = (*NETWORK, *POSTGRES_CLIENT, *MACHINE_LEARNING)


def test_a_program_gets_what_any_program_needs() -> None:
    needed = {"PATH": "/bin", "HOME": "/home/a", "LC_ALL": "C", "XDG_CACHE_HOME": "/c"}
    assert program_environment(inherited=needed) == needed | UTC


def test_every_program_runs_in_utc_whatever_the_time_zone_of_its_caller() -> None:
    assert program_environment(inherited={"TZ": "America/New_York"}) == {"TZ": "UTC"}
    assert child_environment(load_settings(), {"TZ": "Asia/Tokyo"})["TZ"] == "UTC"


def test_no_group_has_a_variable_of_ours_in_it() -> None:
    assert program_environment(*EVERY_GROUP, inherited=OURS) == UTC


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (NETWORK, "https_proxy"),
        (NETWORK, "SSL_CERT_FILE"),
        (POSTGRES_CLIENT, "PGSSLROOTCERT"),
        (MACHINE_LEARNING, "CUDA_VISIBLE_DEVICES"),
        (MACHINE_LEARNING, "HSA_OVERRIDE_GFX_VERSION"),
        (MACHINE_LEARNING, "HF_HUB_OFFLINE"),
        (MACHINE_LEARNING, "PYTORCH_CUDA_ALLOC_CONF"),
    ],
)
def test_a_group_is_only_for_those_who_ask_for_it(group: tuple[str, ...], name: str) -> None:
    assert program_environment(*group, inherited={name: "x"}) == {name: "x"} | UTC
    assert program_environment(inherited={name: "x"}) == UTC


def test_further_variables_are_named_whole_or_by_their_beginning() -> None:
    found = {"WANDB_MODE": "offline", "MY_A": "1", "MY": "2", "WANDB_API_KEY": "3"}
    passed = program_environment("WANDB_MODE", "MY_*", inherited=found)
    assert passed == {"WANDB_MODE": "offline", "MY_A": "1"} | UTC


def test_programs_of_postgresql_get_who_we_are_but_no_other_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = {"PGPASSWORD": "x", "PGPASSFILE": "x", "PGSSLMODE": "require", "PGSSLROOTCERT": "x"}
    changing = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGOPTIONS", "PGCLIENTENCODING", "PGTZ")
    given = kept | dict.fromkeys(changing, "x")
    assert program_environment(*POSTGRES_CLIENT, inherited=given) == kept | UTC
    assert without_postgres_variables({"PATH": "/bin", **given}) == {"PATH": "/bin", **kept}
    for name in changing:
        monkeypatch.setenv(name, "x")
    ignore_postgres_variables()
    assert not set(changing) & os.environ.keys()


def starts_of_programs() -> list[tuple[str, ast.Call]]:
    """Every call of `subprocess` in the package but those of the simulated sd-scripts."""
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "sd_scripts" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"Popen", "run", "check_output", "check_call", "call"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "subprocess"
    ]


def test_no_program_is_started_with_our_whole_environment() -> None:
    starts = starts_of_programs()
    assert starts
    without = [where for where, call in starts if "env" not in {k.arg for k in call.keywords}]
    assert without == []
