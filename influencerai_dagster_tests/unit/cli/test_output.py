"""What is printed is read: texts of tenants and servers command no terminal."""

import io

import pytest
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from influencerai_dagster.cli.output import Field, print_rows
from influencerai_dagster.cli.terminal import Terminal

# The clipboard, the window's title, colours by one C1 code, a line over another, direction.
HOSTILE = "\x1b]52;c;cm0=\x07 \x1b]0;title\x1b\\ \x9b31m \x1b[2K \r \x08 \u202eexe \x7f \ud800"
COMMANDS = ("\x07", "\x08", "\r", "\x7f", "\x9b", "\u202e", "\ud800", "\x1b]", "\x1b\\", "\x1b[2K")


def terminal() -> tuple[Terminal, io.StringIO]:
    written = io.StringIO()
    return Terminal(file=written, force_terminal=True, width=200), written


def table() -> Table:
    found = Table("text")
    found.add_row(escape(HOSTILE))
    return found


@pytest.mark.parametrize("is_table", [True, False], ids=["a table", "a line"])
def test_a_text_commands_no_terminal(*, is_table: bool) -> None:
    shown, written = terminal()
    shown.print(table() if is_table else escape(f"prompt: {HOSTILE} of [bold]acme[/]"))
    assert [code for code in COMMANDS if code in written.getvalue()] == []
    assert "title" in written.getvalue()


def test_a_live_view_moves_its_cursor_and_a_text_in_it_does_not() -> None:
    shown, written = terminal()
    with Live(table(), console=shown, auto_refresh=False) as view:
        view.refresh()
        view.refresh()
    lines = written.getvalue()
    assert "\x1b[1A" in lines
    assert [code for code in ("\x07", "\x9b", "\u202e", "\ud800", "\x1b]") if code in lines] == []


def test_colours_and_lines_of_our_own_stay() -> None:
    shown, written = terminal()
    shown.print("[bold red]error:[/] one\ntwo\tthree")
    assert "\x1b[1;31m" in written.getvalue()
    assert written.getvalue().splitlines()[1].startswith("two")


def test_a_line_for_a_pipe_has_no_command_either(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"error": HOSTILE}], (Field("error"),), as_json=False)
    (_, line) = capsys.readouterr().out.splitlines()
    assert [code for code in COMMANDS if code in line] == []
