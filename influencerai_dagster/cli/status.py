"""`influencerai status`: show what runs, what waits, and what is wrong, on one screen."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import typer
from sqlalchemy import text

from influencerai_dagster.backup.database.backups import newest_whole
from influencerai_dagster.cli import fork_server
from influencerai_dagster.cli.backup import HOW_TO_HAVE_A_BACKUP
from influencerai_dagster.cli.common import engine, server_settings, store
from influencerai_dagster.cli.disk_space import free_space
from influencerai_dagster.cli.output import Field, JsonOption, print_rows
from influencerai_dagster.cli.server_probes import TIMEOUT_SECONDS, ServerProbes
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.core.dagster_names import BACKUP_OBJECTS_JOB, SUCCESS
from influencerai_dagster.dagster_client.overview import list_runs
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.backups import database_backups

_FIELDS = (
    Field("part"),
    Field("state"),
    Field("text", "found", is_wide=True),
)
_SERVER = text(
    "SELECT current_setting('server_version'), current_database(), host(inet_server_addr()), "
    "inet_server_port()"
)
_MAX_RUNS = 200
_SHOWN_RUNS = 5


def status(as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """Show services, queue, runs, last backups and disk on one screen.

    Exit code 1 if a part is wrong; `influencerai doctor` looks deeper.
    """
    rows = []
    for part, look in _parts(server_settings()):
        try:
            rows.append({"part": part, "state": "ok", "text": look()})
        except InfluencerAIError as error:
            rows.append({"part": part, "state": "wrong", "text": str(error)})
    print_rows(rows, _FIELDS, as_json=as_json)
    if any(row["state"] == "wrong" for row in rows):
        raise typer.Exit(1)


def _parts(config: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "PostgreSQL", _postgresql
    yield "S3", partial(_s3, config)
    yield "Dagster", partial(_dagster, config)
    home = config.dagster.home
    if home is not None and fork_server.starts_runs(home):
        yield "fork server", partial(fork_server.describe, home)
    with ServerProbes(config.comfyui.urls) as probes:
        for server in probes.states(wait_seconds=TIMEOUT_SECONDS + 1):
            numbers = f"{server.running} running, {server.pending} queued"
            yield f"ComfyUI {server.url}", partial(_answered, numbers, is_up=bool(server.is_up))
    yield "jobs", _jobs
    yield "runs", _runs
    yield "database backup", partial(_database_backup, config)
    yield "object backup", _object_backup
    yield "disk", partial(free_space, config.local.data_dir)


def _answered(text_: str, *, is_up: bool) -> str:
    if not is_up:
        raise PermanentError("it does not answer")
    return text_


def _postgresql() -> str:
    with transaction(engine()) as session:
        version, database, address, port = session.execute(_SERVER).one()
    where = "a socket" if address is None else f"{address}:{port}"
    return f"PostgreSQL {version}, database {database} at {where}"


def _s3(config: Settings) -> str:
    store().head("doctor/status")
    return f"bucket {config.s3.bucket} at {config.s3.endpoint or 'AWS'}"


def _dagster(config: Settings) -> str:
    with closing(dagster()) as client:
        problem = client.location_problem()
    if problem:
        raise PermanentError(problem)
    return config.dagster.url


def _jobs() -> str:
    with transaction(engine()) as session:
        counts = job_queue.count_by_status(session)
    return ", ".join(f"{number:,} {name.value}" for name, number in counts.items())


def _runs() -> str:
    with closing(dagster()) as client:
        alive = list_runs(client, is_alive=True, limit=_MAX_RUNS)
    named = [
        f"{run.job_name} {run.partition_key or ''} {run.status.lower()}".replace("  ", " ")
        for run in alive[:_SHOWN_RUNS]
    ]
    more = [f"{len(alive) - _SHOWN_RUNS} more"] if len(alive) > _SHOWN_RUNS else []
    return "; ".join([*named, *more]) or "none is alive"


def _database_backup(config: Settings) -> str:
    newest = newest_whole(database_backups(config).list_backups())
    if newest is None or newest.end is None:
        raise PermanentError(f"there is none yet: {HOW_TO_HAVE_A_BACKUP}")
    return f"{newest.backup_id}, {_ago(newest.end)}"


def _object_backup() -> str:
    with closing(dagster()) as client:
        runs = list_runs(client, job_name=BACKUP_OBJECTS_JOB, limit=_MAX_RUNS)
    ended = next((run.ended_at for run in runs if run.status == SUCCESS), None)
    return "none by a run of Dagster yet" if ended is None else _ago(ended)


def _ago(then: datetime) -> str:
    minutes = (datetime.now(UTC) - then).total_seconds() / 60
    ago = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"  # noqa: PLR2004
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {ago} ago"
