"""Command `doctor`: check every part that the system needs, and say what to do."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial

import httpx

from influencerai_dagster.cli import fork_server
from influencerai_dagster.cli.common import server_settings, store
from influencerai_dagster.cli.disk_space import free_space
from influencerai_dagster.cli.doctor_backups import backups, programs
from influencerai_dagster.cli.doctor_engines import (
    comfyui,
    kohya,
    lora_dir,
    openrouter,
    training_models,
)
from influencerai_dagster.cli.output import Field, print_rows
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.core.object_paths import ACCESS_CHECKS_PREFIX
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.engines.ffmpeg.program import find_program
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.program_environment import program_environment
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.abilities import ask_abilities, other_address_style
from influencerai_dagster.storage.access import access_problems
from influencerai_dagster.storage.errors import translated_errors
from influencerai_dagster.wiring.stores import assets_store

MAX_CLOCK_SKEW_SECONDS = 60
"""S3 refuses a request that is signed 15 minutes off; a minute shows a clock without NTP."""
_RUNS_MINUTES = 15
_MANY_LOST_RUNS = 3

_FIELDS = (
    Field("part"),
    Field("state"),
    Field("text", "found, or what is wrong and what to do", is_wide=True),
)

Check = Callable[[], str]
"""Returns what was found, or raises one of our errors with what is wrong and what to do."""


def run_checks(settings: Settings, *, as_json: bool) -> bool:
    """Print a line for every part; return whether all are well."""
    rows = []
    for name, check in _checks(settings):
        try:
            rows.append({"part": name, "state": "ok", "text": check()})
        except InfluencerAIError as error:
            rows.append({"part": name, "state": "wrong", "text": str(error)})
    print_rows(rows, _FIELDS, as_json=as_json)
    return all(row["state"] == "ok" for row in rows)


def _checks(settings: Settings) -> Iterator[tuple[str, Check]]:
    yield "PostgreSQL: catalog", lambda: _catalog(settings.database.url)
    yield "PostgreSQL: Dagster", lambda: _server_version(settings.dagster.database_url)
    yield "S3", _s3
    yield "S3: what it can", _s3_abilities
    yield "clock", _clock
    for url in settings.comfyui.urls:
        shown = httpx.URL(url).copy_with(userinfo=b"", query=None)
        yield f"ComfyUI {shown}", partial(comfyui, url)
    yield (
        "ComfyUI's LoRA folder",
        lambda: lora_dir(settings.comfyui.lora_dir, settings.comfyui.urls),
    )
    yield "kohya sd-scripts", lambda: kohya(settings)
    yield "models for training", lambda: training_models(settings)
    if settings.datasets.has_auto_captions and settings.datasets.auto_captioner == "openrouter":
        yield "OpenRouter", lambda: openrouter(settings)
    yield "ffmpeg", _ffmpeg
    yield "backup programs", lambda: programs(settings)
    yield "backups", lambda: backups(settings)
    yield "disk", lambda: free_space(settings.training.dir)
    yield "Dagster", lambda: _dagster(settings)
    home = settings.dagster.home
    if home is not None and fork_server.starts_runs(home):
        yield "Dagster's fork server", lambda: fork_server.describe(home)
    yield "Dagster's runs", lambda: _runs(settings)


def _server_version(url: str) -> str:
    with transaction(create_catalog_engine(url)) as session:
        return f"PostgreSQL {migrate.check_database(session.connection())}"


def _catalog(url: str) -> str:
    version = _server_version(url)
    current, head = migrate.current_revision(url), migrate.head_revision()
    if current != head:
        raise PermanentError(
            f"the catalog is at migration {current}, this version needs {head}: run "
            "`influencerai migrate`"
        )
    return f"{version}, migration {current}"


def _s3() -> str:
    problems = access_problems(store())
    if problems:
        raise PermanentError("\n".join(problems))
    return f"bucket {store().bucket}: write, read, presigned link and delete work"


def _s3_abilities() -> str:
    is_path_style = server_settings().s3.force_path_style
    other = assets_store(server_settings(), path_style=not is_path_style)
    try:
        style = other_address_style(store(), other, is_path_style=is_path_style)
    finally:
        other.client.close()
    return "\n".join([*ask_abilities(store()).consequences(), style])


def _clock() -> str:
    with translated_errors("list", store().bucket, ""):
        answer = store().client.list_objects_v2(
            Bucket=store().bucket, Prefix=ACCESS_CHECKS_PREFIX, MaxKeys=1
        )
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if date is None:
        return "S3 sends no time to compare with"
    skew = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    if skew > MAX_CLOCK_SKEW_SECONDS:
        raise PermanentError(f"this clock and S3's differ by {skew:.0f} s: set it (NTP)")
    return f"within {max(1, round(skew))} s of S3's"


def _ffmpeg() -> str:
    program = find_program()
    answer = subprocess.run(  # noqa: S603 - our own program
        [program, "-version"], env=program_environment(), capture_output=True, text=True, check=True
    )
    return " ".join(answer.stdout.split()[:3])


def _dagster(settings: Settings) -> str:
    with closing(dagster()) as client:
        problem = client.location_problem()
    if problem:
        raise PermanentError(problem)
    return f"{settings.dagster.url} has code location {CODE_LOCATION} loaded"


def _runs(settings: Settings) -> str:
    minutes = _RUNS_MINUTES
    with closing(dagster()) as client:
        lost = client.lost_runs(after=time.time() - 60 * minutes)
    if len(lost) < _MANY_LOST_RUNS:
        return f"{len(lost)} of the newest runs of {minutes} minutes failed before they began"
    log = settings.local.data_dir / "logs" / "code-server.log"
    raise PermanentError(
        f"the newest {len(lost)} runs failed before they began, the last is {lost[0]}: the code "
        f"server starts no runs. Its log ({log}, where the stack runs on this machine) says why; "
        "end its process, and it is started again"
    )
