"""Define the command group of `influencerai`, which imports a command when it is called.

So `influencerai --help` and every command start without the modules of the others (SQLAlchemy,
Alembic, backups). Here our errors, and what the operating system refuses, become words and exit
codes too.
"""

import errno
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from influencerai_dagster.cli.examples import EXAMPLES
from influencerai_dagster.cli.terminal import Terminal
from influencerai_dagster.errors import InfluencerAIError, UnknownNameError
from influencerai_dagster.files import explained


@dataclass(frozen=True)
class LazyCommand:
    """A command, or a group of them, that is imported when it is called.

    Attributes:
        help: its line in `influencerai --help`; a test compares it with the command's own.
        module: where it is, below influencerai_dagster.cli.
        name: of the function or of the typer.Typer there.
    """

    help: str
    module: str
    name: str

    def load(self, command_name: str) -> Any:  # noqa: ANN401 - typer's classes have no public base
        """Import the command, with examples in its help."""
        found = getattr(import_module(f"influencerai_dagster.cli.{self.module}"), self.name)
        is_group = isinstance(found, typer.Typer)
        command = get_group(found) if is_group else get_command(_app_of(found))
        command.name = command_name
        _finish_help(command, command_name)
        return command


class Commands(TyperGroup):
    """The commands by name; ends with the text of our errors instead of a traceback."""

    lazy: ClassVar[Mapping[str, LazyCommand]] = {}

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - whatever typer gives
        super().__init__(**options)
        for name, command in self.lazy.items():
            self.commands[name] = TyperCommand(name, help=command.help)
        self._loaded: set[str] = set()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - click's
        """Import the command that is called."""
        self.load(args[0])
        return super().resolve_command(ctx, args)

    def load(self, name: str) -> Any:  # noqa: ANN401 - click's
        """Return the command of that name, whole; None if there is none."""
        if name in self.lazy and name not in self._loaded:
            self.commands[name] = self.lazy[name].load(name)
            self._loaded.add(name)
        return self.commands.get(name)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Print the help, with examples."""
        _finish_help(self, "")  # here it has the options of typer's completion
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - click's
        """Run the command; exit code 1 if one of our errors ends it."""
        try:
            return super().invoke(ctx)
        except InfluencerAIError as error:
            hint = error.operator_hint if isinstance(error, UnknownNameError) else ""
            _end(f"{error}. {hint}" if hint else str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of our output has gone: click ends quietly
            _end(explained(error))


def _end(text: str) -> NoReturn:
    shown = Terminal(stderr=True, soft_wrap=True)
    shown.print(f"[bold red]error:[/] {escape(text)}", highlight=False)
    sys.exit(1)


def _app_of(function: Any) -> typer.Typer:  # noqa: ANN401 - any function that typer reads
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return app


def _finish_help(command: Any, path: str) -> None:  # noqa: ANN401 - click's
    """Add the examples; show flags without a type, which reads as if they took a value."""
    examples = EXAMPLES.get(path, ())
    if examples:
        lines = (escape(f"  influencerai {example}") for example in examples)
        command.epilog = "\n".join(["[bold]Examples[/]", *lines])
    for param in [*command.params, command.get_help_option(typer.Context(command))]:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    for name, child in getattr(command, "commands", {}).items():
        _finish_help(child, f"{path} {name}".strip())
