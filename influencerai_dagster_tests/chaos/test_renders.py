"""What counts as a needless render, case by case."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster_tests.chaos.faults import Injected
from influencerai_dagster_tests.chaos.renders import (
    Render,
    excuses,
    needless_renders,
    read_journal,
    renders_of_jobs,
)
from influencerai_dagster_tests.chaos.scenario import Action

JOB = uuid4()


def render(claim: int, posted: float, server: int = 0, **fields: Any) -> Render:
    made = {
        "executed": posted + 1,
        "finished": posted + 2,
        "is_success": True,
        **fields,
    }
    return Render(prompt_id(JOB, claim), server, posted, **made)


def needless(*renders: Render, injected: tuple[Injected, ...] = ()) -> list[tuple[int, int, bool]]:
    by_job = renders_of_jobs(renders, {JOB: 3})
    return [
        (item.claim, item.earlier_claim, item.was_finished)
        for item in needless_renders(by_job, injected)
    ]


def test_a_single_render_is_never_needless() -> None:
    assert needless(render(1, 100)) == []


def test_a_second_render_is_needless_if_the_first_could_be_fetched() -> None:
    assert needless(render(1, 100), render(2, 110, server=1)) == [(2, 1, True)]


def test_a_second_render_is_needless_if_the_first_was_still_being_made() -> None:
    assert needless(render(1, 100, finished=120), render(2, 110, server=1)) == [(2, 1, False)]


def test_the_same_prompt_posted_twice_is_needless() -> None:
    assert needless(render(1, 100), render(1, 110)) == [(1, 1, True)]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(render(1, 100, is_success=False), id="the first failed"),
        pytest.param(render(1, 100, is_lost=True), id="its file was lost"),
        pytest.param(render(1, 100, died=109), id="its server restarted"),
        pytest.param(render(1, 100, executed=math.inf), id="it was never begun"),
        pytest.param(render(1, 109), id="it was posted at the same moment"),
        pytest.param(render(3, 100), id="it was of a later claim: the second had lost its lease"),
    ],
)
def test_a_second_render_is_not_needless_if(first: Render) -> None:
    assert needless(first, render(2, 110, server=1)) == []


@pytest.mark.parametrize(
    ("action", "is_excuse"),
    [(Action.REFUSE_COMFYUI, True), (Action.ANSWER_500, True), (Action.HANG_COMFYUI, False)],
)
def test_a_finished_render_has_to_be_fetched_unless_its_server_could_not_be_asked(
    action: Action,
    is_excuse: bool,  # noqa: FBT001 - parametrized
) -> None:
    renders = (render(1, 100), render(2, 110, server=1))
    assert (needless(*renders, injected=(Injected(action, 108, 109, server=0),)) == []) is is_excuse
    assert needless(*renders, injected=(Injected(action, 108, 109, server=1),)), (
        "another server's fault"
    )
    assert needless(*renders, injected=(Injected(action, 50, 60, server=0),)), "long before"


def test_a_render_that_hangs_need_not_be_waited_for() -> None:
    renders = (render(1, 100, finished=130), render(2, 110, server=1))
    assert needless(*renders, injected=(Injected(Action.HANG_COMFYUI, 101, 125, server=0),)) == []


def test_every_second_render_has_its_excuse_in_the_report() -> None:
    lost, again = render(1, 100, is_lost=True), render(2, 110)
    assert excuses(renders_of_jobs([lost, again], {JOB: 2}), []) == ["its file was lost"]


def test_a_journal_tells_the_lives_of_a_server_apart(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    log = _writer(journal)
    log(1, "started")
    log(2, "posted", "a")
    log(3, "executed", "a")
    log(4, "lost", "a")
    log(5, "finished", "a", "execution_success")
    log(6, "posted", "b")
    log(9, "started")
    log(10, "posted", "b")
    log(11, "executed", "b")
    log(12, "finished", "b", "execution_error")
    assert read_journal(journal, 2) == [
        Render("a", 2, 2, executed=3, finished=5, died=9, is_success=True, is_lost=True),
        Render("b", 2, 6, died=9),
        Render("b", 2, 10, executed=11, finished=12),
    ]


def _writer(path: Path) -> Callable[..., None]:
    def log(time: float, event: str, prompt_id: str = "", outcome: str | None = None) -> None:
        item = {"time": time, "event": event, "prompt_id": prompt_id, "outcome": outcome}
        with path.open("a") as file:
            file.write(json.dumps(item) + "\n")

    return log
