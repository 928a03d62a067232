"""Print results: a table on a terminal, lines in a pipe, one JSON document for a program.

Standard output has the result alone; progress and next steps go to standard error. In a pipe
nothing is cut or wrapped: a header, then a line for each row, with tabs.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_json, to_jsonable_python
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Column, Table

from influencerai_dagster.cli.terminal import Terminal
from influencerai_dagster.core.plain_text import harmless

console = Terminal(soft_wrap=not sys.stdout.isatty())
notes = Terminal(stderr=True, soft_wrap=not sys.stderr.isatty())

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for programs (docs/cli.md).")
]
Document = Mapping[str, Any]

_ID_WIDTH = 36


def _plain(value: Any) -> str:  # noqa: ANN401 - any value of a document
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, Mapping | list | tuple):
        return to_json(value).decode()
    return str(value)


@dataclass(frozen=True)
class Field:
    """A column of a list.

    Attributes:
        name: of the value in the document; the header of the column in a pipe.
        title: the heading of the column on a terminal; "" for the name.
        shown: how it is written on a terminal.
        is_id: shown whole in one line, however narrow the terminal is.
        is_wide: takes the width that is left.
    """

    name: str
    title: str = ""
    shown: Callable[[Any], str] = _plain
    is_id: bool = False
    is_wide: bool = False
    is_number: bool = False

    def column(self) -> Column:
        """Return it as rich draws it."""
        justify: JustifyMethod = "right" if self.is_number else "left"
        return Column(
            self.title or self.name.replace("_", " "),
            justify=justify,
            overflow="fold",
            no_wrap=self.is_id,
            min_width=_ID_WIDTH if self.is_id else None,
            ratio=1 if self.is_wide else None,
        )


def print_rows(rows: Sequence[Document], fields: Sequence[Field], *, as_json: bool) -> None:
    """Print a list: its fields on a terminal and in a pipe, all there is as JSON."""
    if as_json:
        print_json(rows)
    elif console.is_terminal:
        table = Table(*(field.column() for field in fields))
        for row in rows:
            table.add_row(*(escape(field.shown(row[field.name])) for field in fields))
        console.print(table)
    else:
        _write("\t".join(field.name for field in fields))
        for row in rows:
            _write("\t".join(_cell(row[field.name]) for field in fields))


def print_document(document: Document, *, as_json: bool) -> None:
    """Print one thing: a line for each of its values, or all of it as JSON."""
    if as_json:
        print_json(document)
        return
    width = max(len(name) for name in document) + 2 if console.is_terminal else 0
    for name, value in document.items():
        if console.is_terminal:
            title = name.replace("_", " ")
            console.print(f"[bold]{title:{width}}[/]{escape(_plain(value))}", highlight=False)
        else:
            _write(f"{name}\t{_cell(value)}")


def print_result(document: Document, text: str, *, as_json: bool) -> None:
    """Print what a command did: as words, or as JSON."""
    if as_json:
        print_json(document)
    else:
        console.print(escape(text), soft_wrap=True, highlight=False)


def print_json(document: object) -> None:
    """Print one JSON document; times are ISO 8601 in UTC."""
    _write(to_json(document, indent=2).decode())


def next_step(text: str) -> None:
    """Say what happens next and where to see it."""
    notes.print(f"[dim]next:[/] {escape(text)}", soft_wrap=True, highlight=False)


def _cell(value: Any) -> str:  # noqa: ANN401 - any value of a document
    """Return a value for a pipe, as JSON has it: numbers without commas, whole times."""
    plain = to_jsonable_python(value)
    text = "" if plain is None else plain if isinstance(plain, str) else to_json(plain).decode()
    return harmless(" ".join(text.split()))


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
