"""All commands of `influencerai`, loaded, by what one types."""

import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

from typer.main import get_command

from influencerai_dagster.cli import COMMANDS, app


@cache
def all_commands() -> dict[str, Any]:
    """Every command and group by its words, "jobs list"; the program itself is ""."""
    root: Any = get_command(app)
    for name in COMMANDS:
        root.load(name)
    return dict(_below(root, ""))


def _below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _below(child, f"{path} {name}".strip())


def leaves() -> dict[str, Any]:
    """The commands that do something, without the groups."""
    return {path: item for path, item in all_commands().items() if not hasattr(item, "commands")}


def options_of(command: Any) -> set[str]:
    """Its long options, "--tenant"."""
    return {option for param in command.params for option in param.opts if option[:2] == "--"}


def parse(line: str) -> None:
    """Parse a command line as the program does, and do nothing; a bad one raises."""
    command: Any = get_command(app)
    name, args, context = "influencerai", shlex.split(line), None
    while True:
        context = command.make_context(name, args, parent=context)
        if not hasattr(command, "commands"):
            return
        name, command, args = command.resolve_command(
            context,
            [*context._protected_args, *context.args],  # noqa: SLF001 - typer has no other
        )
