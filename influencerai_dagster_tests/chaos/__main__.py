"""`python -m influencerai_dagster_tests.chaos`: a chaos run that people watch; `make chaos`."""

import argparse
import secrets
import sys

from rich.console import Console
from rich.status import Status

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster_tests.chaos.report import replay_command, report
from influencerai_dagster_tests.chaos.runner import Progress, running_scenario
from influencerai_dagster_tests.chaos.scenario import draw_scenario
from influencerai_dagster_tests.chaos.violations import inspect

SEEDS = 2**32
_QUIET_SECONDS = 10.0


def main() -> None:
    """Run a scenario and print its table; exit code 1 if something happened that should not."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seed", type=int, help="replays a run; drawn and printed by default")
    arguments = parser.parse_args()
    seed = secrets.randbelow(SEEDS) if arguments.seed is None else arguments.seed
    scenario = draw_scenario(seed, arguments.jobs)
    console = Console()
    console.print(f"seed {seed}: {arguments.jobs} jobs, {len(scenario.events)} events")
    with Line(console) as line, running_scenario(scenario, line.show) as outcome:
        line.close()
        inspection = inspect(outcome)
        console.print(report(outcome, inspection))
        for violation in inspection.violations:
            console.print(violation, style="red", markup=False, highlight=False)
        if inspection.violations:
            console.print(f"Logs and data: {outcome.servers.folder}")
            console.print(f"Replay: {replay_command(outcome)}")
            sys.exit(1)
        console.print("Every job ended once, and for a true reason.", style="green")


class Line:
    """The line of progress: alive on a terminal, every ten seconds in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status = console.status("starting the servers")
        self._next = 0.0

    def __enter__(self) -> "Line":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the line."""
        self._status.stop()

    def show(self, progress: Progress) -> None:
        """Show where the run is."""
        text = _text(progress)
        if self._console.is_terminal:
            self._status.update(text)
        elif progress.seconds >= self._next:
            self._next = progress.seconds + _QUIET_SECONDS
            self._console.print(text, highlight=False)


def _text(progress: Progress) -> str:
    counts = ", ".join(f"{progress.counts[status]} {status.value}" for status in JobStatus)
    return (
        f"{progress.seconds:4.0f} s  {progress.ended}/{progress.num_jobs} ended ({counts})  "
        f"{progress.num_workers} workers  {progress.num_faults}/{progress.num_all_faults} events, "
        f"{progress.num_active} under way"
    )


if __name__ == "__main__":
    main()
