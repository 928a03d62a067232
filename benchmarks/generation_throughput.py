"""`RenderWorker` against a bare asyncio client on the same servers: images per second and CPU.

Both get the same prompts and the same S3, in processes of their own, and alternate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from benchmarks.bare_client import Spent, render_bare
from benchmarks.comparisons import Comparison
from benchmarks.pipeline_stack import DAY, PipelineStack, image, running_stack
from benchmarks.worker_processes import in_new_process, work_on_day

NUM_JOBS = 500
NUM_SERVERS = 3
_TENANT = "acme"


@dataclass
class _Figures:
    """What each round took."""

    ours: list[Spent] = field(default_factory=list)
    bare: list[Spent] = field(default_factory=list)
    postgres_cpu_seconds: list[float] = field(default_factory=list)


def measure(*, render_seconds: float, rounds: int) -> Sequence[Comparison]:
    """Measure both sides in each round."""
    figures = _Figures()
    with running_stack(NUM_SERVERS, seconds_per_step=render_seconds) as stack:
        stack.add_tenants(_TENANT)
        for number in range(rounds):
            sides = [_measure_ours, _measure_bare]
            for measure_side in sides if number % 2 == 0 else sides[::-1]:
                measure_side(stack, number, figures)
    return _comparisons(
        figures, f"{NUM_JOBS} images of {render_seconds:g} s on {NUM_SERVERS} servers"
    )


def _measure_ours(stack: PipelineStack, number: int, figures: _Figures) -> None:
    day = DAY + timedelta(days=number)
    stack.submit(_TENANT, [image(seed) for seed in range(NUM_JOBS)], day)
    before = stack.postgres_cpu_seconds()
    figures.ours.append(in_new_process(work_on_day, stack, _TENANT, NUM_JOBS, day=day))
    figures.postgres_cpu_seconds.append(stack.postgres_cpu_seconds() - before)


def _measure_bare(stack: PipelineStack, number: int, figures: _Figures) -> None:
    prefix = f"bare-{number}"
    figures.bare.append(in_new_process(render_bare, stack, range(NUM_JOBS), prefix))


def _comparisons(figures: _Figures, what: str) -> Sequence[Comparison]:
    bare_cpu = [1000 * spent.cpu_seconds / NUM_JOBS for spent in figures.bare]
    return [
        Comparison(
            name=what,
            baseline_name="bare asyncio client",
            unit="images/s",
            measured=[NUM_JOBS / spent.seconds for spent in figures.ours],
            baseline=[NUM_JOBS / spent.seconds for spent in figures.bare],
            better="higher",
        ),
        Comparison(
            name="the same: CPU of the worker",
            baseline_name="CPU of the bare client",
            unit="ms/image",
            measured=[1000 * spent.cpu_seconds / NUM_JOBS for spent in figures.ours],
            baseline=bare_cpu,
            better="lower",
        ),
        Comparison(
            name="the same: CPU of PostgreSQL",
            baseline_name="CPU of the bare client",
            unit="ms/image",
            measured=[1000 * seconds / NUM_JOBS for seconds in figures.postgres_cpu_seconds],
            baseline=bare_cpu,
            better="lower",
        ),
    ]
