"""The contract of our GraphQL adapter with the installed Dagster web server, on a real port."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import dagster as dg
import httpx
import pytest

from influencerai_dagster.dagster_client import client as dagster_graphql
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.testing.dagster_server import (
    AWAY,
    LOCATION,
    queued_instance,
    running_webserver,
)
from influencerai_dagster_tests.testing.ports import free_port

DAY = "demo/2026-11-23"
BIG = 3_000_000_000
"""More than GraphQL's Int holds."""


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with queued_instance() as instance:
        yield instance


@pytest.fixture(scope="module")
def url(instance: dg.DagsterInstance) -> Iterator[str]:
    with running_webserver(instance) as url:
        yield url


@contextmanager
def client(url: str, location: str = LOCATION) -> Iterator[DagsterGraphQL]:
    """A client whose connections are closed at the end of the block."""
    dagster = DagsterGraphQL(url, location, timeout_seconds=30)
    yield dagster
    dagster.close()


@pytest.fixture(scope="module")
def dagster(url: str) -> Iterator[DagsterGraphQL]:
    with client(url) as dagster:
        yield dagster


def images(**job: object) -> dict[str, object]:
    return {"ops": {"render_images": {"config": {"jobs": [job]}}}}


def test_a_loaded_location_has_no_problem(dagster: DagsterGraphQL) -> None:
    assert dagster.location_problem() is None


def test_a_location_that_does_not_load_says_why(url: str) -> None:
    with client(url, AWAY) as dagster:
        problem = dagster.location_problem()
    assert "Could not reach user code server" in str(problem)
    assert "code-server.log" in str(problem)
    assert "dagster._core" not in str(problem)


def test_a_location_that_is_not_in_the_workspace_says_which_are(url: str) -> None:
    with client(url, "elsewhere") as dagster:
        problem = dagster.location_problem()
    assert "'elsewhere' is not loaded" in str(problem)
    assert LOCATION in str(problem)


def test_a_partition_can_be_added_twice(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    for _ in range(2):
        dagster.add_partition("content_days", "demo/2026-11-24")
    assert instance.get_dynamic_partitions("content_days").count("demo/2026-11-24") == 1


def test_a_partition_set_that_is_not_ours_is_refused(dagster: DagsterGraphQL) -> None:
    with pytest.raises(PermanentError, match="'demo/x': The repository does not contain"):
        dagster.add_partition("no_such_set", "demo/x")


def test_a_launched_run_has_its_job_partition_and_config(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    dagster.add_partition("content_days", DAY)
    config = images(prompt="bella at the beach")

    run_id = dagster.launch("generate_images_job", partition_key=DAY, run_config=config)

    launched = instance.get_run_by_id(run_id)
    assert launched is not None
    assert launched.run_config == config
    assert launched.tags["dagster/partition"] == DAY
    assert launched.tags["dagster/max_runtime"] == str(6 * 3600)
    run = dagster.run(run_id)
    assert (run.run_id, run.job_name, run.status) == (run_id, "generate_images_job", "QUEUED")
    assert run.failures == ()
    assert not run.is_finished


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param(
            {"ops": {"render_images": {"config": {"job": []}}}},
            'Received unexpected config entry "job"',
            id="unknown field",
        ),
        pytest.param(
            {"ops": {"render_images": {"config": {"jobs": "x"}}}},
            "Value at path root:ops:render_images:config:jobs",
            id="no list",
        ),
        pytest.param({"ops": {"render_video": {}}}, '"render_video"', id="unknown op"),
    ],
)
def test_a_run_config_that_does_not_fit_is_refused_with_its_field(
    dagster: DagsterGraphQL, config: dict[str, object], says: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        dagster.launch("generate_images_job", partition_key=DAY, run_config=config)
    assert f"did not launch generate_images_job for {DAY}" in str(caught.value)
    assert says in str(caught.value)


def test_a_job_that_is_not_there_is_named(dagster: DagsterGraphQL) -> None:
    with pytest.raises(PermanentError, match="no_such_job"):
        dagster.launch("no_such_job", partition_key=DAY, run_config={})


def test_a_location_that_is_away_launches_nothing_and_says_so(url: str) -> None:
    with client(url, AWAY) as dagster, pytest.raises(PermanentError, match=AWAY):
        dagster.launch("generate_images_job", partition_key=DAY, run_config={})


class TheirError(Exception):
    """Not one of ours."""


def fail_with(error: Exception, instance: dg.DagsterInstance, partition: str = DAY) -> str:
    """Run a job whose only op raises an error; return the run id."""

    @dg.op
    def work() -> None:
        raise error

    @dg.job
    def failing_job() -> None:
        work()

    tags = {"dagster/partition": partition}
    return failing_job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).run_id


def test_a_failed_run_tells_our_text_first(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    run = dagster.run(fail_with(dg.Failure(description="no LoRA of bella: train one"), instance))
    assert (run.status, run.is_finished) == ("FAILURE", True)
    assert run.failures == ("no LoRA of bella: train one",)


def test_an_error_that_dagster_wrapped_is_told_with_its_cause(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    (failure,) = dagster.run(fail_with(TheirError("disk on fire"), instance)).failures
    assert 'executing op "work"' in failure
    assert "disk on fire" in failure


def test_a_run_with_more_events_than_a_page_still_tells_why_it_failed(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dagster_graphql, "EVENTS_PER_PAGE", 2)
    run_id = fail_with(dg.Failure(description="its loss became nan"), instance)
    assert dagster.run(run_id).failures == ("its loss became nan",)


def test_a_run_that_failed_without_a_step_tells_its_own_message(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    run_id = str(uuid4())
    run = dg.DagsterRun(job_name="job", run_id=run_id, status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    instance.report_run_failed(run, message="The stack was stopped while this run was alive.")
    assert dagster.run(run_id).failures == ("The stack was stopped while this run was alive.",)


def test_a_run_that_is_not_there_is_named(dagster: DagsterGraphQL) -> None:
    run_id = str(uuid4())
    with pytest.raises(PermanentError, match=run_id):
        dagster.run(run_id)


def test_runs_that_failed_before_they_began_are_told_until_one_that_began(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    ended = [_end_run(instance, has_begun=has_begun) for has_begun in (False, True, False, False)]
    assert dagster.lost_runs(after=time.time() - 60) == [ended[3], ended[2]]
    assert dagster.lost_runs(after=time.time() + 60) == []


def _end_run(instance: dg.DagsterInstance, *, has_begun: bool) -> str:
    run = dg.DagsterRun(job_name="generate_images_job", status=dg.DagsterRunStatus.STARTING)
    instance.add_run(run)
    if has_begun:
        event = dg.DagsterEvent("PIPELINE_START", "generate_images_job")
        instance.report_dagster_event(event, run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    instance.report_run_failed(found)
    return run.run_id


def test_runs_are_those_of_the_partition_since_the_time(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    before = time.time()
    ours = fail_with(TheirError("1"), instance, "demo/2026-11-25")
    fail_with(TheirError("2"), instance, "other/2026-11-25")

    (found,) = dagster.runs("demo/2026-11-25", created_after=before - 1)

    assert (found.run_id, found.status) == (ours, "FAILURE")
    assert dagster.runs("demo/2026-11-25", created_after=time.time() + 1) == []
    assert dagster.runs("demo/2026-11-26", created_after=0) == []


def test_the_newest_materialization_of_a_partition_is_told_with_texts_and_numbers(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance
) -> None:
    for partition, steps in (("demo/bella", 10), ("demo/bella", 20), ("other/bella", 30)):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "lora_weights",
                partition=partition,
                metadata={
                    "steps": steps,
                    "weights_size_bytes": BIG,
                    "object_key": "k",
                    "loss": 0.5,
                },
            )
        )

    found = dagster.materialization("lora_weights", "demo/bella")

    assert found is not None
    assert found.metadata == {"steps": 20, "weights_size_bytes": BIG, "object_key": "k"}
    assert abs(found.at - time.time()) < 60


@pytest.mark.parametrize(
    ("asset", "partition"),
    [
        pytest.param("lora_weights", "demo/nobody", id="partition"),
        pytest.param("dataset", "demo/bella", id="asset that nobody made"),
        pytest.param("no_such_asset", "demo/bella", id="unknown asset"),
    ],
)
def test_without_a_materialization_there_is_none(
    dagster: DagsterGraphQL, asset: str, partition: str
) -> None:
    assert dagster.materialization(asset, partition) is None


def test_a_web_server_that_is_away_is_a_passing_error_that_says_how_to_start_it() -> None:
    with client(f"http://127.0.0.1:{free_port()}") as dagster:
        with pytest.raises(TransientError, match="`make up`"):
            dagster.location_problem()
        with pytest.raises(TransientError, match="DAGSTER_URL"):
            dagster.launch("generate_images_job", partition_key=DAY, run_config={})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, "The request has no valid user and password: send those."),
        (403, "The request came from a page of http://x."),
        (400, "gpu1 is not a name of this server: set DAGSTER_URL."),
    ],
)
def test_a_web_server_that_does_not_let_us_in_says_why(status: int, body: str) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(status, text=body)

    dagster = DagsterGraphQL(
        "http://gpu1:3000",
        LOCATION,
        credentials=("ann", "pw"),
        transport=httpx.MockTransport(answer),
    )
    with pytest.raises(PermanentError, match=f"rejected the request: {body}") as caught:
        dagster.location_problem()
    dagster.close()
    assert "pw" not in str(caught.value)
    assert sent[0].headers["Authorization"] == "Basic YW5uOnB3"


def test_a_refusal_of_the_database_is_told_without_its_sql() -> None:
    message = (
        "sqlalchemy.exc.InternalError: (psycopg2.errors.ReadOnlySqlTransaction) cannot execute "
        "INSERT in a read-only transaction\n\n[SQL: INSERT INTO snapshots]\n[parameters: {1}]"
    )
    data = {"addDynamicPartition": {"__typename": "PythonError", "message": message}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": data}))
    dagster = DagsterGraphQL("http://127.0.0.1:3000", LOCATION, transport=transport)
    with pytest.raises(PermanentError) as caught:
        dagster.add_partition("datasets", "a/b")
    assert str(caught.value).endswith("cannot execute INSERT in a read-only transaction")


def test_something_else_on_the_port_is_a_passing_error_too(url: str) -> None:
    with (
        client(f"{url}/server_info") as dagster,
        pytest.raises(TransientError, match="does not answer"),
    ):
        dagster.location_problem()
