"""The command `influencerai`, run in the process of the test."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from influencerai_dagster.cli import app, common
from influencerai_dagster.storage.object_store import ObjectStore

_CACHED = (
    *(common.settings, common.server_settings),
    *(common.engine, common.store, common.job_submitter),
)


@dataclass
class Answer:
    """What a command did; `text` is all that it printed, `out` only what goes into a pipe."""

    exit_code: int
    text: str
    out: str = ""

    def __contains__(self, text: str) -> bool:
        """Whether the output has these words, however the terminal broke its lines."""
        return " ".join(text.split()) in " ".join(self.text.split())


@dataclass
class CommandLine:
    """The command `influencerai` in a folder without .env and without a stack."""

    engine: Engine
    store: ObjectStore
    environment: pytest.MonkeyPatch

    def __call__(self, *arguments: str | Path, stdin: str = "") -> Answer:
        """Run a command as a new process would see settings, but in this one."""
        forget_settings()
        result = CliRunner().invoke(app, [str(item) for item in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.output, result.stdout)


def forget_settings() -> None:
    """Let the next command read the settings again."""
    if common.engine.cache_info().currsize:
        common.engine().dispose()
    for cached in _CACHED:
        cached.cache_clear()
