"""`influencerai generate`: pictures through Dagster's GraphQL API, as a tenant's app would."""

import time
from contextlib import closing
from typing import Annotated
from uuid import uuid4

import typer
from rich.markup import escape
from rich.table import Column, Table

from influencerai_dagster.api.dagster_graphql import CODE_LOCATION, DagsterGraphQL, Run
from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.ledger import Job
from influencerai_dagster.catalog.loras import newest_lora
from influencerai_dagster.catalog.tenants import require_tenant
from influencerai_dagster.cli.common import console, engine, settings
from influencerai_dagster.cli.content import TenantName
from influencerai_dagster.domain.keys import DayKey, parse_day, today
from influencerai_dagster.errors import PermanentError, TransientError

_POLL_SECONDS = 1.0
_DAY_SET = "content_days"


def generate(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    prompt: Annotated[str, typer.Option(help="What the pictures show.")],
    lora: Annotated[
        str, typer.Option(help="Dataset whose newest LoRA is used; none by default.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=1000)] = 1,
    negative_prompt: Annotated[str, typer.Option()] = "",
    day: Annotated[str, typer.Option(help="YYYY-MM-DD in UTC; today by default.")] = "",
) -> None:
    """Render pictures of one prompt and wait for them."""
    key = DayKey(tenant, parse_day(day) if day else today())
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        if lora and newest_lora(session, tenant, lora) is None:
            raise PermanentError(
                f"tenant {tenant} has no LoRA of dataset {lora!r} yet: upload its photos, or wait "
                "for its training (the run is in the Dagster UI)"
            )
    batch = uuid4().hex
    jobs = [
        {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "loras": [{"dataset": lora}] if lora else [],
            "idempotency_key": f"generate/{batch}/{index}",
        }
        for index in range(count)
    ]
    with closing(DagsterGraphQL(settings().dagster_url, CODE_LOCATION)) as dagster:
        dagster.add_partition(_DAY_SET, str(key))
        run_id = dagster.launch(
            "generate_images_job",
            partition_key=str(key),
            run_config={"ops": {"render_images": {"config": {"jobs": jobs}}}},
        )
        console.print(f"run {settings().dagster_url}/runs/{run_id}")
        finished = _watch(dagster, run_id, key, f"generate/{batch}/", count)
    _show(finished)
    failed = count - sum(job.result is not None for job in finished)
    if failed:
        raise PermanentError(f"{failed} of {count} pictures were not made: see above")


def _watch(dagster: DagsterGraphQL, run_id: str, key: DayKey, prefix: str, count: int) -> list[Job]:
    """Show the batch's progress until each job has ended or the run has."""
    with console.status("waiting for the run to start") as status:
        while True:
            run = _run(dagster, run_id)
            with transaction(engine()) as session:
                day_jobs = ledger.list_jobs(session, key.tenant, day=key.day, limit=10_000)
            mine = [job for job in day_jobs if (job.idempotency_key or "").startswith(prefix)]
            ended = [job for job in mine if job.finished_at is not None]
            if len(ended) == count:
                return ended
            if run is not None and run.is_finished and not mine:
                reasons = "\n".join(run.failures) or f"the run ended as {run.status}"
                raise PermanentError(f"nothing was rendered:\n{reasons}")
            state = run.status.lower() if run else "not known: Dagster does not answer"
            running = sum(job.lease_owner is not None for job in mine)
            status.update(
                f"run {state}: {len(ended)} of {count} pictures done, {running} rendering"
            )
            time.sleep(_POLL_SECONDS)


def _run(dagster: DagsterGraphQL, run_id: str) -> Run | None:
    try:
        return dagster.run(run_id)
    except TransientError:
        return None  # the web server restarts: the jobs go on without it


def _show(jobs: list[Job]) -> None:
    table = Table("job", Column("object key or error", overflow="fold"))
    for job in jobs:
        table.add_row(str(job.id), escape(str((job.result or {}).get("object_key") or job.error)))
    console.print(table)
