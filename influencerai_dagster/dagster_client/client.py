"""Query Dagster's GraphQL API; the one adapter, because the API may change between versions.

Follows https://docs.dagster.io/api/graphql; a contract test compares it with the version in the
lock file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from influencerai_dagster.core.dagster_names import ALIVE, ENDED, FAILURE, PARTITION_TAG
from influencerai_dagster.dagster_client.queries import (
    ADD_PARTITION,
    ENDED_RUNS,
    EVENTS,
    LAUNCH,
    LOCATIONS,
    LOG_LINES,
    MATERIALIZATION,
    RUN,
    RUNS,
)
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.http_clients import client_options

if TYPE_CHECKING:
    import httpx

REPOSITORY = "__repository__"
EVENTS_PER_PAGE = 1000
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_MAX_ENDED_RUNS = 100


@dataclass(frozen=True)
class Run:
    """One Dagster run as the API returns it.

    Attributes:
        status: QUEUED, STARTING, STARTED, SUCCESS, FAILURE, CANCELED, …
        failures: error texts, those of steps before that of the run.
    """

    run_id: str
    job_name: str
    status: str
    failures: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended."""
        return self.status in ENDED


@dataclass(frozen=True)
class Materialization:
    """One materialization of a partition.

    Attributes:
        at: seconds since 1970.
        metadata: its texts and whole numbers, by label.
    """

    at: float
    metadata: dict[str, str | int]


class DagsterGraphQL:
    """A client of one Dagster web server.

    Args:
        url: of the web server, `http://127.0.0.1:3000`.
        location: name of the code location in workspace.yaml.
        credentials: user and password, if the web server needs them.
        timeout_seconds: how long one answer may take.
        transport: how requests are sent; None is HTTP.
    """

    def __init__(
        self,
        url: str,
        location: str,
        *,
        credentials: tuple[str, str] | None = None,
        timeout_seconds: float = 30.0,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        import httpx  # noqa: PLC0415 - takes 0.1 s to import; commands that list need no client

        self._url = f"{url.rstrip('/')}/graphql"
        self.repository = {"repositoryLocationName": location, "repositoryName": REPOSITORY}
        self._http = httpx.Client(
            timeout=timeout_seconds, auth=credentials, transport=transport, **client_options(url)
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def location_problem(self) -> str | None:
        """Return why the code location cannot be used, or None if it is loaded.

        Raises:
            TransientError: the web server does not answer.
        """
        wanted = self.repository["repositoryLocationName"]
        entries = self.ask(LOCATIONS, {})["workspaceOrError"].get("locationEntries", [])
        for entry in entries:
            if entry["name"] == wanted and entry["loadStatus"] == "LOADED":
                message = (entry["locationOrLoadError"] or {}).get("message")
                return message and (
                    f"the code server does not answer, or cannot load {wanted!r}: "
                    f"{_plain(message)}. The reason is in its log, code-server.log; a local stack "
                    "restarts it when it has ended or does not answer for too long"
                )
        return f"code location {wanted!r} is not loaded; found {[item['name'] for item in entries]}"

    def add_partition(self, partition_set: str, key: str) -> None:
        """Add a dynamic partition, unless it exists already."""
        answer = self.ask(
            ADD_PARTITION, {"repository": self.repository, "set": partition_set, "key": key}
        )["addDynamicPartition"]
        if answer["__typename"] not in {
            "AddDynamicPartitionSuccess",
            "DuplicateDynamicPartitionError",
        }:
            raise PermanentError(f"Dagster did not add partition {key!r}: {_reason(answer)}")

    def launch(
        self,
        job_name: str,
        *,
        partition_key: str,
        run_config: dict[str, Any],
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Launch a run of a partition and return its run id.

        Raises:
            PermanentError: Dagster refused the run config or does not know the job.
            TransientError: the web server does not answer.
        """
        params = {
            "selector": {**self.repository, "jobName": job_name},
            "runConfigData": run_config,
            "executionMetadata": {
                "tags": [
                    {"key": key, "value": value}
                    for key, value in {**tags, PARTITION_TAG: partition_key}.items()
                ]
            },
        }
        answer = self.ask(LAUNCH, {"params": params})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise PermanentError(
                f"Dagster did not launch {job_name} for {partition_key}: {_reason(answer)}"
            )
        return str(answer["run"]["runId"])

    def run(self, run_id: str) -> Run:
        """Return a run with what it materialized and why it failed."""
        answer = self.ask(RUN, {"runId": run_id})["runOrError"]
        if answer["__typename"] != "Run":
            raise PermanentError(f"Dagster has no run {run_id}: {_reason(answer)}")
        return Run(
            run_id=run_id,
            job_name=answer["jobName"],
            status=answer["status"],
            failures=tuple(self._failures(run_id)) if answer["status"] == FAILURE else (),
        )

    def materialization(self, asset: str, partition_key: str) -> Materialization | None:
        """Return the newest materialization of a partition, or None."""
        variables = {"asset": {"path": [asset]}, "partition": partition_key}
        found = self.ask(MATERIALIZATION, variables)["assetOrError"].get("assetMaterializations")
        if not found:
            return None
        metadata: dict[str, str | int] = {}
        for item in found[0]["metadataEntries"]:
            if "text" in item:
                metadata[item["label"]] = item["text"]
            elif "intRepr" in item:  # GraphQL's own integers end at 2**31
                metadata[item["label"]] = int(item["intRepr"])
        return Materialization(at=float(found[0]["timestamp"]) / 1000, metadata=metadata)

    def runs(self, partition_key: str, *, created_after: float) -> list[Run]:
        """Return the newest runs of a partition that were created after a time since 1970."""
        tags = [{"key": PARTITION_TAG, "value": partition_key}]
        variables = {"filter": {"tags": tags, "createdAfter": created_after}}
        found = self.ask(RUNS, variables)["runsOrError"].get("results", [])
        return [self.run(item["runId"]) for item in found]

    def lost_runs(self, *, after: float) -> list[str]:
        """Return the ids of the newest runs in a row that failed before they began.

        Args:
            after: only runs that changed since then, in seconds since 1970.
        """
        filters = {"statuses": ENDED, "updatedAfter": after}
        answer = self.ask(ENDED_RUNS, {"filter": filters, "limit": _MAX_ENDED_RUNS})["runsOrError"]
        if "results" not in answer:
            raise PermanentError(f"Dagster did not list its runs: {_reason(answer)}")
        ended = sorted(answer["results"], key=lambda run: run["endTime"] or 0.0, reverse=True)
        # The API gives a run that never began the time of its end as that of its start.
        lost = takewhile(
            lambda run: run["status"] == FAILURE and run["startTime"] in {None, run["endTime"]},
            ended,
        )
        return [str(run["runId"]) for run in lost]

    def live_run(self, job_name: str, partition_key: str) -> str | None:
        """Return the id of a run of the job and partition that has not ended, or None.

        A queued run counts.
        """
        tags = [{"key": PARTITION_TAG, "value": partition_key}]
        filters = {"pipelineName": job_name, "tags": tags, "statuses": ALIVE}
        answer = self.ask(RUNS, {"filter": filters})["runsOrError"]
        if "results" not in answer:
            raise PermanentError(f"Dagster did not list its runs: {_reason(answer)}")
        return next((str(item["runId"]) for item in answer["results"]), None)

    def log_lines(self, run_id: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        """Return the lines that a run has logged since a cursor, and the cursor of the last one."""
        events, end = self._events(LOG_LINES, run_id, cursor)
        return [event["message"] for event in events], end

    def _failures(self, run_id: str) -> list[str]:
        """Read a failed run's events to their end: failures come last."""
        return _reasons(self._events(EVENTS, run_id)[0])

    def _events(
        self, query: str, run_id: str, cursor: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        events: list[dict[str, Any]] = []
        variables: dict[str, Any] = {"runId": run_id, "cursor": cursor, "limit": EVENTS_PER_PAGE}
        while True:
            page = self.ask(query, variables)["runOrError"].get("eventConnection")
            if page is None:  # the run is gone
                return events, variables["cursor"]
            events += [event for event in page["events"] if event]
            variables["cursor"] = page["cursor"]
            if not page["hasMore"]:
                return events, variables["cursor"]

    def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data that answers a query of queries.py.

        Raises:
            TransientError: the web server does not answer.
            PermanentError: Dagster refused the query.
        """
        import httpx  # noqa: PLC0415 - as above

        try:
            response = self._http.post(self._url, json={"query": query, "variables": variables})
            if response.status_code in _REFUSED and "json" not in response.headers["Content-Type"]:
                raise PermanentError(f"{self._url} rejected the request: {response.text.strip()}")
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TransientError(
                f"the Dagster web server at {self._url} does not answer ({error}). Is it running? "
                "`make up` starts the local stack; DAGSTER_URL names another one."
            ) from error
        if "errors" in answer or "data" not in answer:
            raise PermanentError(f"Dagster refused the query: {answer.get('errors', answer)}")
        return dict(answer["data"])


def _reason(answer: dict[str, Any]) -> str:
    errors = [item["message"] for item in answer.get("errors", [])]
    return "; ".join(errors) or _plain(answer.get("message") or "") or answer["__typename"]


def _plain(message: str) -> str:
    """Return Dagster's text without the class of the exception and the SQL that it tried."""
    return re.sub(r"^([a-z_0-9]+\.)+[A-Za-z]+: ", "", message.partition("\n[SQL:")[0].strip())


def _reasons(events: list[dict[str, Any]]) -> list[str]:
    steps = [
        (event["failureMetadata"] or {}).get("description") or _error_text(event["error"] or {})
        for event in events
        if "error" in event
    ]
    return [text for text in steps if text] or [
        event["message"] for event in events if "message" in event
    ]


def _error_text(error: dict[str, Any]) -> str:
    """Return Dagster's own text and those of its causes, which it does not repeat."""
    parts = [error, *error.get("causes", [])]
    return "\n".join(part["message"].strip() for part in parts if part.get("message"))
