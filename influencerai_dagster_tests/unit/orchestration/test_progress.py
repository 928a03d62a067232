"""Telling about work that goes on although nobody can be told."""

import logging

import pytest

from influencerai_dagster.orchestration.progress import optional


def test_work_goes_on_although_dagsters_database_takes_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tell(step: int) -> None:
        raise ConnectionError(f"the database is away at step {step}")

    with caplog.at_level(logging.WARNING):
        optional(tell)(7)
    assert "misses a line: the database is away at step 7" in caplog.text


def test_what_is_told_arrives() -> None:
    reported: list[str] = []
    optional(reported.append)("step 7")
    assert reported == ["step 7"]
