"""Which tags a run may have when it enters the queue."""

import json

import pytest

from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.runs import tags as run_tags
from influencerai_dagster.orchestration.runs.tags import TagLimits, refusal

LIMITS = TagLimits(max_runtime_seconds=86_400, max_retries=2)


def refused(tags: dict[str, str], job: str = "build_dataset_job") -> str | None:
    return refusal(job, tags, LIMITS)


@pytest.mark.parametrize(
    "name",
    [
        "dagster-k8s/config",
        "dagster-k8s/resource_requirements",
        "dagster-celery/queue",
        "docker/container_id",
        "ecs/task_overrides",
    ],
)
@pytest.mark.parametrize("value", ["{}", "None", ""])
def test_no_caller_chooses_the_container(name: str, value: str) -> None:
    assert f"tag {name} chooses the container" in str(refused({name: value}))


def test_a_container_that_the_job_itself_asks_for_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = json.dumps({"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}})
    job_tags = {"train_lora_job": {"dagster-k8s/config": gpu}}
    monkeypatch.setattr(run_tags, "_JOB_TAGS", job_tags)
    assert refused({"dagster-k8s/config": gpu}, "train_lora_job") is None
    assert refused({"dagster-k8s/config": "{}"}, "train_lora_job") is not None
    assert refused({"dagster-k8s/config": gpu}, "build_dataset_job") is not None


@pytest.mark.parametrize(
    "name",
    ["dagster/max_runtime", "dagster/max_runtime_seconds", "dagster/max_retries", "start_tag"],
)
@pytest.mark.parametrize(
    "value", ["nan", "inf", "-1", "1e3", "9000000", "9" * 5000, "", "1\n", "１", "0x1", "True"]
)
def test_numbers_that_would_never_end_are_refused(name: str, value: str) -> None:
    assert f"tag {name} has to be a whole number up to" in str(refused({name: value}))


def test_what_would_stop_the_daemon_of_retries_is_refused() -> None:
    assert refused({"dagster/failure_reason": "x"}) is not None


@pytest.mark.parametrize(
    "tags",
    [
        {"dagster/max_runtime": "86400"},
        {"dagster/max_retries": "0"},
        {"dagster/priority": "-3", "dagster/partition": "demo/bella", "team": "docker/x"},
        {"dagster/backfill": "b", "dagster/sensor_name": "s", ".dagster/repository": "r"},
    ],
)
def test_others_are_taken(tags: dict[str, str]) -> None:
    assert refused(tags) is None


@pytest.mark.parametrize("job", JOBS.values(), ids=lambda job: job.name)
def test_our_own_jobs_are_taken(job: object) -> None:
    name = getattr(job, "name", "")
    tight = TagLimits(max_runtime_seconds=1, max_retries=0)
    assert refusal(name, run_tags._JOB_TAGS[name], tight) is None  # noqa: SLF001 - as runs have them


def test_without_a_limit_of_the_instance_there_is_none() -> None:
    open_ended = TagLimits(max_runtime_seconds=None, max_retries=2)
    assert refusal("build_dataset_job", {"dagster/max_runtime": "9" * 9}, open_ended) is None
