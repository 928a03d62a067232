"""Who counts as silent: only time in which we ran ourselves is held against a service."""

import threading
from collections.abc import Iterator

import pytest

from influencerai_dagster.local.liveness import Liveness


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stopping() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def liveness(stopping: threading.Event, clock: Clock) -> Liveness:
    """Watches one service that never answers, and may be silent for 10 s."""
    one = Liveness(stopping, every_seconds=60.0, clock=clock)
    one.watch("web", lambda: False, 10.0)
    return one


def names(liveness: Liveness) -> list[str]:
    return [name for name, _ in liveness.stalled()]


def pass_seconds(liveness: Liveness, clock: Clock, seconds: int) -> list[str]:
    silent = []
    for _ in range(seconds):
        clock.now += 1.0
        silent = names(liveness)
    return silent


def test_a_service_is_silent_when_it_did_not_answer_for_its_time(
    liveness: Liveness, clock: Clock
) -> None:
    assert pass_seconds(liveness, clock, 10) == []
    assert pass_seconds(liveness, clock, 1) == ["web"]


@pytest.mark.parametrize("slept_seconds", [60, 86_400])
def test_a_machine_that_slept_makes_nobody_silent(
    liveness: Liveness, clock: Clock, slept_seconds: int
) -> None:
    clock.now += slept_seconds
    assert names(liveness) == []


def test_a_service_that_was_started_again_gets_the_time_for_its_start(
    liveness: Liveness, clock: Clock
) -> None:
    pass_seconds(liveness, clock, 11)
    liveness.started_again("web", 20.0)
    assert pass_seconds(liveness, clock, 30) == []
    assert pass_seconds(liveness, clock, 1) == ["web"]
