"""Media, influencers, the queue and the usage by the API."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from influencerai_dagster.core.access import Role
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation.queue import MediaAsset
from influencerai_dagster_tests.testing.api_site import ApiSite
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_one,
    complete_job,
    image_request,
    submit_one,
    video_request,
)

BELLA = {
    "name": "Bella",
    "dataset": "bella",
    "trigger_phrase": "bella woman",
    "class_caption": "photo of a woman",
    "persona": {"city": "Milano", "likes": ["coffee", "a\nb"]},
}


def rendered(site: ApiSite, tenant: str = "demo") -> MediaAsset:
    submit_one(site.engine, tenant=tenant)
    return complete_job(site.engine, claim_one(site.engine))


def media(site: ApiSite, **params: Any) -> dict[str, Any]:
    answer = site.client().get("/api/v1/media", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_media_are_listed_page_by_page(site: ApiSite) -> None:
    made = [str(rendered(site).id) for _ in range(3)]
    rendered(site, "other")
    first = media(site, limit=2)
    second = media(site, limit=2, cursor=first["next_cursor"])
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def test_media_are_found_by_influencer_day_and_kind(site: ApiSite) -> None:
    plain = rendered(site)
    with transaction(site.engine) as session:
        session.execute(
            text("UPDATE jobs SET payload = jsonb_set(payload, '{loras}', :loras) WHERE id = :id"),
            {"loras": '[{"dataset": "bella"}]', "id": plain.job_id},
        )
    submit_one(site.engine, video_request(plain.job_id))
    from influencerai_dagster.core.job_states import JobKind  # noqa: PLC0415

    video = complete_job(site.engine, claim_one(site.engine, kind=JobKind.VIDEO))
    other = rendered(site)
    ids = {str(plain.id), str(video.id), str(other.id)}
    assert {item["id"] for item in media(site)["items"]} == ids
    of_bella = {item["id"] for item in media(site, influencer="bella")["items"]}
    assert of_bella == ids - {str(other.id)}
    assert [item["id"] for item in media(site, kind="video")["items"]] == [str(video.id)]
    assert len(media(site, day=str(DAY))["items"]) == 3
    assert media(site, day="2020-01-01")["items"] == []


def test_content_redirects_to_the_file_and_a_deleted_one_is_not_found(site: ApiSite) -> None:
    asset = rendered(site)
    site.context.store.put_new(asset.object_key, b"the image", content_type="image/png")
    path = f"/api/v1/media/{asset.id}"
    answer = site.client().get(f"{path}/content")
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    assert httpx.get(answer.headers["location"], trust_env=False).content == b"the image"
    with transaction(site.engine) as session:
        session.execute(text("UPDATE media_assets SET deleted_at = now()"))
    assert site.client().get(f"{path}/content").json()["code"] == "not_found"
    assert site.client().get(path).status_code == 404
    assert media(site)["items"] == []


def test_an_influencer_is_added_changed_and_read(site: ApiSite) -> None:
    ask = site.client()
    nova = {**BELLA, "name": "Nova", "dataset": "nova"}
    assert ask("PUT", "/api/v1/influencers/nova", json=nova).json() == {"id": "nova", **nova}
    changed = {**nova, "persona": {}}
    assert ask("PUT", "/api/v1/influencers/nova", json=changed).status_code == 200
    assert ask.get("/api/v1/influencers/nova").json() == {"id": "nova", **changed}
    listed = ask.get("/api/v1/influencers").json()["items"]
    assert [item["id"] for item in listed] == ["bella", "nova"]
    assert site.client("other").get("/api/v1/influencers/nova").status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "two\nlines"},
        {"name": ""},
        {"dataset": "../other"},
        {"trigger_phrase": "x" * 201},
        {"persona": {"a": "nul \0"}},
        {"persona": {"a\0": 1}},
        {"persona": []},
        {"age": 25},
    ],
)
def test_a_bad_influencer_is_refused(site: ApiSite, changes: dict[str, Any]) -> None:
    answer = site.client()(
        "PUT", "/api/v1/influencers/nova", json={**BELLA, "dataset": "nova"} | changes
    )
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("body", [b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}'])
def test_json_that_cannot_be_stored_is_refused(site: ApiSite, body: bytes) -> None:
    whole = (
        b'{"name":"N","dataset":"n","trigger_phrase":"n","class_caption":"n","persona":%s}' % body
    )
    headers = {"Content-Type": "application/json"}
    answer = site.client()("PUT", "/api/v1/influencers/n", content=whole, headers=headers)
    assert answer.status_code in {400, 422}, answer.text


def test_a_dataset_of_another_influencer_is_a_problem_without_inner_details(site: ApiSite) -> None:
    answer = site.client()("PUT", "/api/v1/influencers/nova", json=BELLA)
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_taken")


def test_a_viewer_changes_no_influencer(site: ApiSite) -> None:
    ask = site.client(role=Role.VIEWER)
    assert ask("PUT", "/api/v1/influencers/nova", json=BELLA).status_code == 403


def test_the_queue_and_the_usage_are_ones_own(site: ApiSite) -> None:
    rendered(site)
    rendered(site, "other")
    submit_one(site.engine, image_request("another"))
    ask = site.client()
    queue = ask.get("/api/v1/queue").json()
    assert queue["max_pending"] == 10_000
    counts = {name: number for name, number in queue["jobs"]["image"].items() if number}
    assert counts == {"pending": 1, "completed": 1}
    usage = ask.get("/api/v1/usage", params={"month": f"{DAY:%Y-%m}"}).json()
    assert usage["gpu_seconds"] == 2.5
    assert (usage["jobs"]["completed"], usage["month"]) == (1, "2026-11")
    assert ask.get("/api/v1/usage", params={"month": "2026-13"}).status_code == 422


@pytest.mark.parametrize("day", ["0", "2026-1-1", "2026-02-30", "1764547200"])
def test_a_day_has_one_form(site: ApiSite, day: str) -> None:
    answer = site.client().get("/api/v1/media", params={"day": day})
    assert answer.json()["errors"][0]["field"] == "query.day"
