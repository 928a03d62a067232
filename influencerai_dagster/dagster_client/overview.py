"""List runs, checks and partitions of a Dagster instance, and the progress of a training.

Single runs are in client.py.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from influencerai_dagster.core.dagster_names import ALIVE, JOB_ASSETS, PARTITION_TAG
from influencerai_dagster.dagster_client.client import EVENTS_PER_PAGE, DagsterGraphQL
from influencerai_dagster.dagster_client.queries import (
    CHECK_EXECUTION,
    CHECKS,
    DELETE_PARTITIONS,
    LIST_RUNS,
    PARTITIONS,
)
from influencerai_dagster.errors import PermanentError

_STEP = re.compile(r"step \d+ of \d+ .*")


@dataclass(frozen=True)
class RunSummary:
    """One run in a list; times are UTC.

    Attributes:
        status: QUEUED, STARTED, SUCCESS, FAILURE, CANCELED, …
        partition_key: None for a run without a partition.
        assets: what it materializes.
        started_at: None while it waits in the queue.
        ended_at: None while it is alive.
    """

    run_id: str
    job_name: str
    status: str
    partition_key: str | None
    assets: tuple[str, ...]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended; a queued one is alive."""
        return self.status in ALIVE


@dataclass(frozen=True)
class FailedCheck:
    """An asset check that the newest materialization of a partition did not pass."""

    name: str
    is_blocking: bool
    text: str


def list_runs(
    dagster: DagsterGraphQL,
    *,
    partition_key: str | None = None,
    job_name: str | None = None,
    is_alive: bool = False,
    limit: int = 20,
) -> list[RunSummary]:
    """Return runs, the newest first.

    Args:
        dagster: the web server.
        partition_key: only of this partition.
        job_name: only of this Dagster job.
        is_alive: only those that have not ended.
        limit: at most so many.
    """
    wanted: dict[str, object] = {}
    if partition_key is not None:
        wanted["tags"] = [{"key": PARTITION_TAG, "value": partition_key}]
    if job_name is not None:
        wanted["pipelineName"] = job_name
    if is_alive:
        wanted["statuses"] = ALIVE
    answer = dagster.ask(LIST_RUNS, {"filter": wanted, "limit": limit})["runsOrError"]
    if "results" not in answer:
        raise PermanentError(f"Dagster did not list its runs: {answer.get('message')}")
    return [_summary(item) for item in answer["results"]]


def _summary(item: Mapping[str, Any]) -> RunSummary:
    selection, tags = item["assetSelection"] or [], item["tags"]
    job_name = str(item["jobName"])
    return RunSummary(
        run_id=str(item["runId"]),
        job_name=job_name,
        status=str(item["status"]),
        partition_key=next((tag["value"] for tag in tags if tag["key"] == PARTITION_TAG), None),
        assets=tuple(key["path"][-1] for key in selection) or JOB_ASSETS.get(job_name, ()),
        created_at=_time(item["creationTime"]) or datetime.now(UTC),
        started_at=_time(item["startTime"]),
        ended_at=_time(item["endTime"]),
    )


def _time(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, float | int) else None


def training_step(dagster: DagsterGraphQL, run_id: str) -> str | None:
    """Return the newest progress of a training, "step 300 of 1500 (20 %), …"; None before it."""
    lines, _ = dagster.log_lines(run_id)
    return next((found[0] for line in reversed(lines) if (found := _STEP.search(line))), None)


def failed_checks(dagster: DagsterGraphQL, asset: str, partition_key: str) -> list[FailedCheck]:
    """Return the checks of an asset whose newest result for a partition is a failure."""
    key = {"path": [asset]}
    node = dagster.ask(CHECKS, {"asset": key})["assetNodeOrError"]
    failed: list[FailedCheck] = []
    for check in node.get("assetChecksOrError", {}).get("checks", []):
        variables = {"asset": key, "check": check["name"], "partition": partition_key}
        for item in dagster.ask(CHECK_EXECUTION, variables)["assetCheckExecutions"]:
            found = item["evaluation"]
            if found is not None and not found["success"]:
                is_blocking = check["blocking"] and found["severity"] == "ERROR"
                text = found["description"] or "it did not pass"
                failed.append(FailedCheck(check["name"], is_blocking, text))
    return failed


def partitions_of_tenant(dagster: DagsterGraphQL, asset: str, tenant: str) -> list[str]:
    """Return the partition keys of an asset that belong to a tenant."""
    keys: list[str] = []
    variables: dict[str, object] = {
        "asset": {"path": [asset]},
        "cursor": None,
        "limit": EVENTS_PER_PAGE,
    }
    while True:
        page = dagster.ask(PARTITIONS, variables)["assetNodeOrError"].get("partitionKeyConnection")
        if page is None:
            raise PermanentError(f"Dagster did not list the partitions of asset {asset}")
        keys += [key for key in page["results"] if key.startswith(f"{tenant}/")]
        if not page["hasMore"]:
            return keys
        variables["cursor"] = page["cursor"]


def delete_partitions(dagster: DagsterGraphQL, partition_set: str, keys: Sequence[str]) -> None:
    """Delete dynamic partitions; keys that do not exist are ignored."""
    if not keys:
        return
    variables = {"repository": dagster.repository, "set": partition_set, "keys": list(keys)}
    answer = dagster.ask(DELETE_PARTITIONS, variables)["deleteDynamicPartitions"]
    if answer["__typename"] != "DeleteDynamicPartitionsSuccess":
        raise PermanentError(f"Dagster did not delete the partitions: {answer.get('message')}")
