"""The table at the end of a run: what was submitted, what was broken, what came of it."""

from collections import Counter
from collections.abc import Iterable

from rich.table import Table

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster_tests.chaos.reasons import reason_of
from influencerai_dagster_tests.chaos.renders import excuses
from influencerai_dagster_tests.chaos.runner import Outcome
from influencerai_dagster_tests.chaos.violations import Inspection


def replay_command(outcome: Outcome) -> str:
    """Return the command that runs the same scenario again."""
    return f"make chaos N={len(outcome.scenario.submissions)} SEED={outcome.scenario.seed}"


def report(outcome: Outcome, inspection: Inspection) -> Table:
    """Return the table of a run."""
    jobs = inspection.jobs
    table = Table("what", "figure", title=replay_command(outcome), title_justify="left")
    table.add_row("jobs", str(len(jobs)))
    for status, number in _counted(job.status for job in jobs):
        table.add_row(f"  {status}", number)
    failed = [job for job in jobs if job.status == JobStatus.FAILED]
    reasons = [reason_of(job.error or "") for job in failed]
    _section(table, "failed", (reason.name if reason else "unexplained" for reason in reasons))
    _section(table, "attempts of a job", (job.attempt for job in jobs))
    _section(table, "renders of a job", (len(inspection.renders.get(job.id, ())) for job in jobs))
    _section(table, "rendered again because", excuses(inspection.renders, outcome.injected))
    broken = [fault.action.value for fault in outcome.injected]
    done = [action.value for action in outcome.customers.happened]
    _section(table, "injected", [*broken, *done])
    ends = [name for name, number in outcome.worker_ends.items() for _ in range(number)]
    _section(table, "workers that ended with", ends)
    table.add_section()
    table.add_row("duration", f"{outcome.seconds:.0f} s")
    table.add_row("violations", str(len(inspection.violations)))
    return table


def _section(table: Table, title: str, items: Iterable[object]) -> None:
    table.add_section()
    table.add_row(title, "")
    for name, number in _counted(items):
        table.add_row(f"  {name}", number)


def _counted(items: Iterable[object]) -> list[tuple[str, str]]:
    counts = Counter(str(item) for item in items)
    return [(name, str(number)) for name, number in sorted(counts.items())]
