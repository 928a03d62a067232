"""Chaos in short: 150 jobs, 4 tenants, 3 servers, and everything breaks.

A new seed is drawn for each run and printed when the run fails: `make chaos N=150 SEED=…`, or
CHAOS_SEED for this test, replays it.
"""

import os
import secrets

import pytest

from influencerai_dagster_tests.chaos.__main__ import SEEDS
from influencerai_dagster_tests.chaos.report import replay_command
from influencerai_dagster_tests.chaos.runner import running_scenario
from influencerai_dagster_tests.chaos.scenario import draw_scenario
from influencerai_dagster_tests.chaos.violations import inspect

NUM_JOBS = 150  # every kind of fault comes in a run of any length


@pytest.mark.timeout(400)
def test_whatever_breaks_every_job_ends_once_and_for_a_true_reason() -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(SEEDS))
    with running_scenario(draw_scenario(seed, NUM_JOBS)) as outcome:
        found = inspect(outcome).violations
        text = "\n".join(["", *found, f"Logs and data: {outcome.servers.folder}"])
        assert found == (), f"{text}\nReplay: {replay_command(outcome)}"
