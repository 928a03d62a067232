"""Chaos of run starts in short: every kind of fault once, over a dozen runs."""

import os
import secrets
from pathlib import Path

import pytest

from influencerai_dagster_tests.chaos.run_starts import SEEDS, run_chaos

NUM_RUNS = 12
NUM_FAULTS = 6


@pytest.mark.timeout(900)
def test_whatever_is_killed_every_run_ends_as_it_should_and_none_is_executed_twice(
    servers_dir: Path,
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(SEEDS))
    folder = servers_dir / "run-starts"
    folder.mkdir()
    outcome = run_chaos(folder, seed, num_runs=NUM_RUNS, num_faults=NUM_FAULTS)
    assert outcome.violations() == [], (seed, outcome.faults, outcome.killed)
    assert len(outcome.statuses) == NUM_RUNS
