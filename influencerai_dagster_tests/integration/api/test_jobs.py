"""Jobs by the API: batches, idempotency keys, pages, cancel and retry."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from influencerai_dagster.core.access import Role
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.api_site import ApiSite
from influencerai_dagster_tests.testing.catalog_rows import claim_one, complete_job, submit_one

JOBS = "/api/v1/jobs"
IMAGE = {"payload": {"kind": "image", "prompt": "bella on a beach"}}


def submit(site: ApiSite, *jobs: Any, key: str | None = None, **options: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return site.client(**options).post(JOBS, {"jobs": jobs or [IMAGE]}, headers=headers)


def num_jobs(site: ApiSite) -> int:
    with transaction(site.engine) as session:
        number: int = session.execute(text("SELECT count(*) FROM jobs")).scalar_one()
    return number


def test_a_batch_is_submitted_and_found_again(site: ApiSite) -> None:
    answer = submit(site, IMAGE, {**IMAGE, "priority": 9})
    assert answer.status_code == 201
    batch = answer.json()
    assert [job["status"] for job in batch["jobs"]] == ["pending", "pending"]
    assert [job["priority"] for job in batch["jobs"]] == [5, 9]
    found = site.client().get(answer.headers["location"])
    assert found.json() == batch
    assert site.client().get(f"{JOBS}/{batch['jobs'][0]['id']}").json() == batch["jobs"][0]


def test_the_same_request_with_the_same_key_is_the_same_batch(site: ApiSite) -> None:
    first, second = submit(site, key="order-1"), submit(site, key="order-1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    replayed = [answer.headers["idempotent-replayed"] for answer in (first, second)]
    assert replayed == ["false", "true"]
    assert num_jobs(site) == 1


def test_the_same_key_sent_many_times_at_once_is_one_batch(site: ApiSite) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: submit(site, IMAGE, IMAGE, key="order-1"), range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert num_jobs(site) == 2


def test_the_same_key_with_another_body_is_refused(site: ApiSite) -> None:
    submit(site, key="order-1")
    other = {"payload": {"kind": "image", "prompt": "bella in a cafe"}}
    answer = submit(site, other, key="order-1")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert num_jobs(site) == 1


def test_keys_of_two_tenants_do_not_meet(site: ApiSite) -> None:
    first, second = submit(site, key="order-1"), submit(site, key="order-1", tenant="other")
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({"payload": {"kind": "image"}}, "body.jobs.0.payload.image.prompt"),
        ({"payload": {"kind": "song", "prompt": "x"}}, "body.jobs.0.payload"),
        ({"payload": {"kind": "image", "promt": "x"}}, "body.jobs.0.payload.image.prompt"),
        ({**IMAGE, "priority": 10}, "body.jobs.0.priority"),
        ({**IMAGE, "colour": "red"}, "body.jobs.0.colour"),
    ],
)
def test_a_bad_field_is_named(site: ApiSite, job: Any, field: str) -> None:
    answer = submit(site, job)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}


def test_all_jobs_of_a_batch_are_taken_or_none(site: ApiSite) -> None:
    lora = {"payload": {"kind": "image", "prompt": "x", "loras": [{"dataset": "nova"}]}}
    answer = submit(site, IMAGE, lora)
    assert (answer.status_code, answer.json()["code"]) == (422, "refused")
    assert "nova" in answer.json()["detail"]
    assert num_jobs(site) == 0


@pytest.mark.parametrize("number", [0, 101])
def test_a_batch_has_1_to_100_jobs(site: ApiSite, number: int) -> None:
    answer = site.client().post(JOBS, {"jobs": [IMAGE] * number})
    assert answer.json()["errors"][0]["field"] == "body.jobs"


def test_a_video_cannot_start_from_another_tenants_image(site: ApiSite) -> None:
    foreign = submit_one(site.engine, tenant="other")
    video = {"payload": {"kind": "video", "source_job_id": str(foreign.id)}}
    unknown = {
        "payload": {"kind": "video", "source_job_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12}
    }
    answers = [submit(site, video), submit(site, unknown)]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert "has no image job" in answers[0].json()["detail"]
    assert "has no image job" in answers[1].json()["detail"]


def test_a_full_queue_says_when_to_come_again(site: ApiSite) -> None:
    full = site.with_settings(MAX_PENDING_JOBS_PER_TENANT="1")
    assert submit(full).status_code == 201
    answer = submit(full)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_pending_jobs")
    assert answer.headers["retry-after"] == "60"
    assert "influencerai " not in answer.json()["detail"]


def test_a_viewer_submits_nothing(site: ApiSite) -> None:
    assert submit(site, role=Role.VIEWER).json()["code"] == "missing_scope"


def test_jobs_are_listed_page_by_page_newest_first(site: ApiSite) -> None:
    submitted = [submit_one(site.engine).id for _ in range(5)]
    submit_one(site.engine, tenant="other")
    ask, seen, cursor = site.client(), list[str](), None
    for _ in range(3):
        params = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = ask.get(JOBS, params=params).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == [str(job_id) for job_id in reversed(submitted)]
    assert ask.get(JOBS, params={"status": "failed"}).json()["items"] == []


def test_a_job_is_cancelled_once_and_retried_as_one_new_job(site: ApiSite) -> None:
    ask = site.client()
    (job,) = submit(site).json()["jobs"]
    path = f"{JOBS}/{job['id']}"
    assert ask.post(f"{path}/retry").json()["code"] == "job_cannot_be_retried"
    assert [ask.post(f"{path}/cancel").json()["status"] for _ in range(2)] == ["cancelled"] * 2
    retries = [ask.post(f"{path}/retry") for _ in range(2)]
    assert {answer.status_code for answer in retries} == {201}
    assert len({answer.json()["id"] for answer in retries}) == 1
    assert retries[0].json()["payload"]["seed"] == job["payload"]["seed"]


def test_a_running_job_is_cancelled_and_its_share_is_settled(site: ApiSite) -> None:
    submit_one(site.engine)
    job = claim_one(site.engine)
    answer = site.client().post(f"{JOBS}/{job.id}/cancel")
    assert answer.json()["status"] == "cancelled"


def test_the_address_of_a_server_is_not_in_a_jobs_error(site: ApiSite) -> None:
    submit_one(site.engine)
    job = claim_one(site.engine)
    error = PermanentError("ComfyUI at http://gpu-7.internal:8188 refused the prompt")
    with transaction(site.engine) as session:
        job_queue.fail(session, job.id, job.lease_token, error)
    document = site.client().get(f"{JOBS}/{job.id}").json()
    assert document["error"] == "ComfyUI at (a server) refused the prompt"


def test_a_completed_job_names_its_image(site: ApiSite) -> None:
    submit_one(site.engine)
    job = claim_one(site.engine)
    asset = complete_job(site.engine, job)
    assert site.client().get(f"{JOBS}/{job.id}").json()["media_id"] == str(asset.id)


def test_submitting_is_in_the_audit_log(site: ApiSite) -> None:
    batch = submit(site, IMAGE, IMAGE).json()
    with transaction(site.engine) as session:
        row = session.execute(text("SELECT actor, action, target, detail FROM audit_entries")).one()
    assert tuple(row) == ("owner@demo.example", "jobs.submit", batch["id"], {"jobs": 2})
