import math
import re

import pytest

from influencerai_dagster.core.lora_training import TrainingStep
from influencerai_dagster.engines.kohya.progress import ProgressReader
from influencerai_dagster_tests.testing.kohya_trainings import RECORDED


def steps_of(run: str, chunk_length: int = 1_000_000) -> list[TrainingStep]:
    text = (RECORDED / f"{run}.stderr.raw").read_bytes().decode()
    reader = ProgressReader()
    chunks = (text[start : start + chunk_length] for start in range(0, len(text), chunk_length))
    return [step for chunk in chunks for step in reader.feed(chunk)]


def curve_of(run: str) -> dict[int, float | None]:
    return {step.step: step.loss for step in steps_of(run)}


def test_a_recorded_run_gives_its_loss_curve() -> None:
    assert curve_of("good") == {0: None, 1: 1.24, 2: 1.19, 3: 1.17}


def test_bars_of_sampling_and_log_text_on_the_same_line_do_not_confuse() -> None:
    assert curve_of("good_full") == {
        0: None,
        1: 1.11,
        2: 1.13,
        3: 1.15,
        4: 1.13,
        5: 1.13,
        6: 1.13,
    }


@pytest.mark.parametrize("run", ["good", "good_full"])
def test_every_step_is_told_once_with_its_own_loss(run: str) -> None:
    text = (RECORDED / f"{run}.stderr.raw").read_bytes().decode()
    last_drawn = dict(re.findall(r" (\d+)/\d+ \[[^\]]*avr_loss=([\d.]+)", text))
    reported = [(str(step.step), str(step.loss)) for step in steps_of(run) if step.step]
    assert reported == list(last_drawn.items())


BAR = "\rsteps:  50%|█████     | {}/9 [00:01<00:01, 9.9it/s, avr_loss={}]"


@pytest.mark.parametrize(
    ("bars", "reported"),
    [
        ([(1, 0.5), (1, 0.4), (2, 0.4), (2, 0.3)], [(1, 0.4), (2, 0.3)]),
        ([(1, 0.4), (1, 0.4), (1, 0.4), (2, 0.4), (2, 0.4)], [(1, 0.4), (2, 0.4)]),
        ([(1, 0.4), (2, 0.3), (3, 0.2), (3, 0.1)], [(1, 0.4), (2, 0.3), (3, 0.1)]),
        ([(1, 0.5), (1, 0.5), (1, 0.4), (2, 0.4)], [(1, 0.5), (1, 0.4)]),
    ],
    ids=["slow", "the loss stays", "fast", "drawn again before its loss is known"],
)
def test_a_step_is_told_when_its_loss_is_known(
    bars: list[tuple[int, float]], reported: list[tuple[int, float]]
) -> None:
    reader = ProgressReader()
    steps = [step for bar in bars for step in reader.feed(BAR.format(*bar))]
    assert [(step.step, step.loss) for step in steps] == reported


@pytest.mark.parametrize("run", ["good", "good_full", "nan_loss", "sigkill_child"])
@pytest.mark.parametrize("chunk_length", [1, 7, 100])
def test_chunks_may_be_cut_anywhere(run: str, chunk_length: int) -> None:
    assert repr(steps_of(run, chunk_length)) == repr(steps_of(run))


def test_a_nan_loss_is_reported_as_nan() -> None:
    loss = curve_of("nan_loss")[2]
    assert loss is not None
    assert math.isnan(loss)


def test_the_time_left_is_unknown_at_first() -> None:
    first, *_, last = steps_of("sigkill_child")
    assert (first.step, first.total_steps, first.eta_seconds) == (0, 40, None)
    assert (last.step, last.eta_seconds) == (3, 3 * 60 + 44)


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        pytest.param(
            "\rsteps:  50%|█████     | 1000/2000 [1:00:00<1:02:03,  3.6s/it, avr_loss=0.0912]",
            TrainingStep(step=1000, total_steps=2000, loss=0.0912, eta_seconds=3723),
            id="hours",
        ),
        pytest.param(
            "\rsteps:  50%|█████     | 1/2 [00:00<00:01, 3.6it/s, Average norm=0.1, avr_loss=2]",
            TrainingStep(step=1, total_steps=2, loss=2, eta_seconds=1),
            id="more figures",
        ),
        pytest.param(
            "\rsteps:  50%|█████     | 1/2 [00:00<00:01, 3.6it/s, avr_loss=?]",
            TrainingStep(step=1, total_steps=2, loss=None, eta_seconds=1),
            id="loss that is not a number",
        ),
    ],
)
def test_a_bar_is_read(bar: str, expected: TrainingStep) -> None:
    reader = ProgressReader()
    assert reader.feed(bar) == []  # its loss may be that of the step before
    assert reader.end() == [expected]
    assert reader.end() == []


@pytest.mark.parametrize(
    "text",
    ["read caption: 100%|██████████| 4/4 [00:00<00:00, 1.0it/s]", " 50%|█████     | 1/2 [00:01<?]"],
)
def test_other_bars_are_no_steps(text: str) -> None:
    assert ProgressReader().feed(text) == []
