"""The web server as a process, attacked as a page in the operator's browser or a caller could."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from influencerai_dagster_tests.testing.dagster_site import (
    CANARY,
    PARTITION,
    PASSWORD,
    REPOSITORY,
    USER,
    Site,
    execution_params,
    running_site,
)
from influencerai_dagster_tests.testing.database_server import execute

AUTH = (USER, PASSWORD)
ADD_EVIL = """mutation { addDynamicPartition(partitionsDefName: "datasets",
    partitionKey: "evil/x", repositorySelector: {repositoryLocationName: "influencerai",
    repositoryName: "__repository__"}) { __typename } }"""
EVIL = {"Origin": "http://evil.example"}
JSON = {"Content-Type": "application/json"}
ANSWER = """__typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }"""
TEXTS = {"event_logs": "event", "runs": "run_body", "snapshots": "snapshot_body"}
"""Where Dagster keeps texts: table and column."""
OWN_PROGRAM = {"kohya": {"config": {"python": "/bin/true", "sd_scripts_dir": {"env": "HOME"}}}}


@pytest.fixture(scope="module")
def site(servers_dir: Path) -> Iterator[Site]:
    with running_site(servers_dir / "webserver") as site:
        site.ask(
            """mutation($of: RepositorySelector!, $key: String!) { addDynamicPartition(
               repositorySelector: $of, partitionsDefName: "datasets", partitionKey: $key)
               { __typename } }""",
            of=REPOSITORY,
            key=PARTITION,
        )
        yield site


def launch(site: Site, job: str, run_config: dict[str, Any], **tags: str) -> dict[str, Any]:
    params = execution_params(job, run_config, tags)
    query = f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {ANSWER} }} }}"
    return dict(site.ask(query, p=params)["launchRun"])


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param(
            "GET", {**EVIL, "Sec-Fetch-Mode": "no-cors", "Accept": "image/*"}, 403, id="image"
        ),
        pytest.param("GET", {}, 405, id="GET"),
        pytest.param("HEAD", {}, 405, id="HEAD"),
        pytest.param(
            "POST", {"Content-Type": "text/plain; a=application/json"}, 415, id="parameter"
        ),
        pytest.param(
            "POST", {"Content-Type": "text/plain;charset=application/json"}, 415, id="charset"
        ),
        pytest.param(
            "POST", {"Content-Type": "application/json", **EVIL}, 403, id="foreign Origin"
        ),
        pytest.param(
            "POST", {"Content-Type": "application/json", "Host": "evil.example"}, 400, id="Host"
        ),
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/graphql%0A"])
def test_a_foreign_page_changes_nothing_though_the_browser_knows_the_password(
    site: Site, method: str, headers: dict[str, str], status: int, path: str
) -> None:
    is_post = method == "POST"
    answer = httpx.request(
        method,
        f"{site.url}{path}",
        params=None if is_post else {"query": ADD_EVIL},
        content=json.dumps({"query": ADD_EVIL}) if is_post else None,
        headers=headers,
        auth=AUTH,
        trust_env=False,
    )
    assert answer.status_code == status
    assert "evil/x" not in site.partitions()


def test_the_page_to_try_queries_on_is_given_and_executes_nothing(site: Site) -> None:
    answer = httpx.get(
        f"{site.url}/graphql",
        params={"query": ADD_EVIL},
        headers={"Accept": "text/html"},
        auth=AUTH,
        trust_env=False,
    )
    assert "GraphiQL" in answer.text
    assert "evil/x" not in site.partitions()


@pytest.mark.parametrize(
    "path",
    [
        "/report_asset_materialization/dataset",
        "/report_asset_check/dataset?check_name=dataset_has_images&passed=true",
        "/report_asset_observation/dataset",
    ],
)
def test_no_page_reports_what_did_not_happen(site: Site, path: str) -> None:
    for headers, status in (({}, 415), (EVIL, 403), ({**EVIL, "Content-Type": "text/plain"}, 403)):
        answer = httpx.post(f"{site.url}{path}", headers=headers, auth=AUTH, trust_env=False)
        assert answer.status_code == status
    assert execute(
        site.storage_url, "SELECT count(*) FROM event_logs WHERE asset_key IS NOT NULL"
    ) == [(0,)]


@pytest.mark.parametrize("path", ["/logs/x.err", "/download_debug/x", "/server_info", "/js/x.js"])
def test_no_page_downloads_or_embeds_anything(site: Site, path: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    answer = httpx.get(f"{site.url}{path}", headers=headers, auth=AUTH, trust_env=False)
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/notebook", "/dagit/notebook"])
def test_no_file_of_the_code_server_becomes_a_page(site: Site, path: str) -> None:
    answer = httpx.get(
        f"{site.url}{path}",
        params={"repoLocName": "influencerai", "path": "/etc/x.ipynb"},
        auth=AUTH,
        trust_env=False,
    )
    assert "<title" in answer.text
    assert "nbconvert" not in answer.text


def test_nobody_reads_the_ui_without_the_password(site: Site) -> None:
    for path in ("/", "/graphql", "/server_info", "/logs/x.err"):
        assert httpx.get(f"{site.url}{path}", trust_env=False).status_code == 401
    assert httpx.get(f"{site.url}/healthz", trust_env=False).text == "ok\n"


def test_subscriptions_open_for_our_page_alone(site: Site) -> None:
    async def first_answer(origin: str) -> str:
        socket_url = site.url.replace("http://", f"ws://{USER}:{PASSWORD.replace(' ', '%20')}@")
        async with websockets.connect(
            f"{socket_url}/graphql",
            origin=Origin(origin),
            subprotocols=[Subprotocol("graphql-ws")],
            proxy=None,
        ) as socket:
            assert socket.subprotocol == "graphql-ws"
            await socket.send('{"type": "connection_init"}')
            return str(await socket.recv())

    assert "connection_ack" in asyncio.run(first_answer(site.url))
    with pytest.raises(InvalidStatus, match="403"):
        asyncio.run(first_answer("http://evil.example"))


@pytest.mark.parametrize("job", ["train_lora_job", "build_dataset_job", "__ASSET_JOB"])
@pytest.mark.parametrize(
    ("run_config", "says"),
    [
        ({"resources": OWN_PROGRAM}, "root:resources:kohya:config"),
        (
            {"resources": {"object_store": {"config": {"bucket": {"env": "JWT_SECRET"}}}}},
            "root:resources:object_store:config",
        ),
        ({"resources": {"io_manager": {"config": {"x": 1}}}}, "root:resources:io_manager:config"),
        ({"execution": {"config": {"retries": {"disabled": {}}}}}, "root:execution:config"),
        ({"loggers": {"console": {"config": {"name": {"env": "JWT_SECRET"}}}}}, "root:loggers"),
    ],
)
def test_no_run_config_replaces_what_the_settings_say(
    site: Site, job: str, run_config: dict[str, Any], says: str
) -> None:
    before = site.num_runs()
    answer = launch(site, job, run_config)
    assert answer["__typename"] == "RunConfigValidationInvalid"
    assert says in answer["errors"][0]["message"]
    assert site.num_runs() == before


@pytest.mark.parametrize(
    "config",
    [
        {"lora_config": {"env": "JWT_SECRET"}},
        {"retrain": {"env": "JWT_SECRET"}},
        {"overrides": [{"env": "JWT_SECRET"}]},
    ],
)
def test_no_field_of_an_op_reads_a_variable(site: Site, config: dict[str, Any]) -> None:
    answer = launch(site, "train_lora_job", {"ops": {"train_lora": {"config": config}}})
    assert answer["__typename"] == "RunConfigValidationInvalid"


@pytest.mark.parametrize("mutation", ["launchPipelineReexecution", "launchRunReexecution"])
def test_a_repeated_run_takes_no_other_resources_either(site: Site, mutation: str) -> None:
    run_id = launch(site, "train_lora_job", {})["run"]["runId"]
    params = execution_params("train_lora_job", {"resources": OWN_PROGRAM})
    params["executionMetadata"] |= {"rootRunId": run_id, "parentRunId": run_id}
    query = f"mutation($p: ExecutionParams!) {{ {mutation}(executionParams: $p) {{ {ANSWER} }} }}"
    assert site.ask(query, p=params)[mutation]["__typename"] == "RunConfigValidationInvalid"


def test_nor_do_many_runs_at_once(site: Site) -> None:
    params = [execution_params("train_lora_job", {"resources": OWN_PROGRAM})]
    query = f"""mutation($p: [ExecutionParams!]!) {{ launchMultipleRuns(executionParamsList: $p) {{
        ... on LaunchMultipleRunsResult {{ launchMultipleRunsResult {{ {ANSWER} }} }} }} }}"""
    (answer,) = site.ask(query, p=params)["launchMultipleRuns"]["launchMultipleRunsResult"]
    assert answer["__typename"] == "RunConfigValidationInvalid"


def test_an_override_can_be_null(site: Site) -> None:
    config = {"overrides": {"save_every_n_steps": None, "max_train_steps": 20}}
    answer = launch(site, "train_lora_job", {"ops": {"train_lora": {"config": config}}})
    assert answer["__typename"] == "LaunchRunSuccess"


def test_a_job_of_a_run_may_have_fields_that_are_null(site: Site) -> None:
    config = {"jobs": [{"prompt": "bella", "seed": None}]}
    run_config = {"ops": {"render_images": {"config": config}}}
    assert launch(site, "generate_images_job", run_config)["__typename"] == "LaunchRunSuccess"


def test_a_run_whose_tags_choose_its_container_fails_at_once_and_for_good(site: Site) -> None:
    container = '{"container_config": {"image": "evil"}}'
    tags = {"dagster-k8s/config": container, "dagster/max_retries": "9"}
    answer = launch(site, "build_dataset_job", {}, **tags)
    assert answer["__typename"] == "PythonError"
    assert "tag dagster-k8s/config chooses the container" in answer["message"]
    ((status, body),) = execute(
        site.storage_url, "SELECT status, run_body FROM runs ORDER BY id DESC LIMIT 1"
    )
    found = json.loads(str(body))["tags"]
    assert status == "FAILURE"
    assert (found["dagster/max_retries"], found["dagster/will_retry"]) == ("0", "false")


def test_no_secret_was_written_down(site: Site) -> None:
    for table, column in TEXTS.items():
        query = f"SELECT count(*) FROM {table} WHERE {column}::text LIKE '%{CANARY}%'"  # noqa: S608 - our own names
        assert execute(site.storage_url, query) == [(0,)]
    assert CANARY not in site.log.read_text()


def test_no_request_fails_because_postgresql_was_restarted(site: Site) -> None:
    def look(_: int) -> dict[str, Any]:
        return site.ask(
            """{ runsOrError(limit: 5) { ... on Runs { results { runId eventConnection(limit: 5)
                 { cursor } } } } sensorsOrError(repositorySelector: {repositoryLocationName:
                 "influencerai", repositoryName: "__repository__"}) { ... on Sensors { results
                 { sensorState { status ticks(limit: 1) { id } } } } } }"""
        )

    with ThreadPoolExecutor(8) as browsers:
        for _ in range(2):
            before = list(browsers.map(look, range(16)))  # every pool has its connections
            site.restart_postgres()
            assert list(browsers.map(look, range(16))) == before
