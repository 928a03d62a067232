"""Who may come in, with what, how often; and what the audit log keeps of it."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Semaphore

import httpx
import pytest
from sqlalchemy import text

from influencerai_dagster.api.auth import passwords
from influencerai_dagster.api.auth import sign_in as sign_in_module
from influencerai_dagster.api.auth.passwords import hash_password
from influencerai_dagster.api.problems import RefusedRequestError
from influencerai_dagster.core.access import Role, Scope
from influencerai_dagster.db import audit, users
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.rate_limits import RateLimit, take_all
from influencerai_dagster_tests.testing.api_client import ApiClient
from influencerai_dagster_tests.testing.api_site import PASSWORD, ApiSite, password_hash

ME = "/api/v1/me"
KEYS = "/api/v1/api-keys"
TOKEN = "/api/v1/auth/token"  # noqa: S105 - a path


def sign_in(
    site: ApiSite, email: str = "owner@demo.example", password: str = PASSWORD
) -> httpx.Response:
    return site.anybody().post(TOKEN, {"email": email, "password": password})


def signed_in(site: ApiSite, email: str = "owner@demo.example") -> ApiClient:
    return ApiClient(site.app, sign_in(site, email).json()["access_token"])


def actions(site: ApiSite) -> list[tuple[str, str]]:
    with transaction(site.engine) as session:
        entries = audit.newest_entries(session, "demo")
        assert audit.verify(session, "demo") is not None
    return [(entry.actor, entry.action) for entry in reversed(entries)]


def test_a_user_signs_in_and_is_known(site: ApiSite) -> None:
    answer = sign_in(site, " Owner@Demo.example")
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 12 * 3600
    me = ApiClient(site.app, answer.json()["access_token"]).get(ME).json()
    assert (me["email"], me["role"], me["tenant"]["id"]) == ("owner@demo.example", "owner", "demo")
    assert actions(site) == [("owner@demo.example", "auth.sign_in")]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Basic b3duZXI6cGFzcw==", "Bearer iai_unknown", "Bearer iai_"],
)
def test_nobody_else_comes_in(site: ApiSite, header: str) -> None:
    answer = site.anybody().get(ME, headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("email", "password"),
    [("owner@demo.example", "wrong"), ("nobody@demo.example", PASSWORD), ("not an address", "x")],
)
def test_a_wrong_address_and_a_wrong_password_give_the_same_answer(
    site: ApiSite, email: str, password: str
) -> None:
    answer = sign_in(site, email, password)
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credentials")
    assert answer.json()["detail"] == "There is no user with this address and password."


def test_an_unknown_account_takes_as_long_as_a_wrong_password(site: ApiSite) -> None:
    context = site.context

    def seconds(email: str, number: int) -> float:
        began = time.process_time()
        with pytest.raises(RefusedRequestError):
            sign_in_module.sign_in(
                context.engine, context.tokens, email, "wrong", f"192.0.2.{number}"
            )
        return time.process_time() - began

    seconds("warm@up.example", 200)
    known = [seconds("owner@demo.example", number) for number in range(5)]
    unknown = [seconds(f"nobody{number}@demo.example", number) for number in range(5)]
    assert statistics.median(unknown) == pytest.approx(statistics.median(known), rel=0.5)


def test_failures_are_limited_and_another_address_may_still_come(site: ApiSite) -> None:
    codes = [sign_in(site, password="wrong").status_code for _ in range(6)]  # noqa: S106
    assert codes == [401] * 5 + [429]
    refused = sign_in(site)  # the right one, too late
    assert refused.json()["code"] == "too_many_failures"
    assert 0 < int(refused.headers["retry-after"]) <= 900
    context = site.context
    assert sign_in_module.sign_in(
        context.engine, context.tokens, "owner@demo.example", PASSWORD, "198.51.100.7"
    ).token


def test_failures_from_one_address_lock_nobody_out_elsewhere(site: ApiSite) -> None:
    context = site.context
    for _ in range(60):
        with pytest.raises(RefusedRequestError):
            sign_in_module.sign_in(
                context.engine, context.tokens, "owner@demo.example", "wrong", "192.0.2.1"
            )
    assert sign_in_module.sign_in(
        context.engine, context.tokens, "owner@demo.example", PASSWORD, "198.51.100.7"
    ).token


def test_all_addresses_of_one_line_of_ipv6_share_their_failures(site: ApiSite) -> None:
    context = site.context
    statuses = []
    for number in range(6):
        with pytest.raises(RefusedRequestError) as caught:
            sign_in_module.sign_in(
                *(context.engine, context.tokens),
                *("owner@demo.example", "wrong", f"2001:db8::{number}"),
            )
        statuses.append(caught.value.status)
    assert statuses == [401] * 5 + [429]


def test_what_a_narrow_bucket_refuses_takes_nothing_from_a_wide_one(site: ApiSite) -> None:
    limits = {"narrow": RateLimit.every(2, 3600), "wide": RateLimit.every(10, 3600)}
    with transaction(site.engine) as session:
        allowed = [take_all(session, limits)[-1].is_allowed for _ in range(5)]
        left = take_all(session, {"wide": limits["wide"], "narrow": limits["narrow"]})
    assert allowed == [True, True, False, False, False]
    assert (left[0].remaining, left[1].is_allowed) == (7, False)
    with transaction(site.engine) as session:  # and what was taken first was returned
        assert take_all(session, {"wide": limits["wide"]})[0].remaining == 7


def test_a_password_that_is_changed_during_a_sign_in_stays_changed(
    site: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed_meanwhile(old_hash: str | None, _: str) -> str | None:
        with transaction(site.engine) as session:
            users.set_password(session, "owner@demo.example", hash_password("another password"))
        return old_hash

    monkeypatch.setattr(sign_in_module, "verified_hash", changed_meanwhile)
    assert sign_in(site).json()["code"] == "wrong_credentials"
    monkeypatch.undo()
    assert sign_in(site).status_code == 401
    assert sign_in(site, password="another password").status_code == 200  # noqa: S106


def test_a_sign_in_that_finds_no_slot_is_told_to_come_again_and_does_not_count(
    site: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(passwords, "_slots", Semaphore(0))
    answers = [sign_in(site, password="wrong") for _ in range(8)]  # noqa: S106
    monkeypatch.undo()
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {
        (503, "unavailable")
    }
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert sign_in(site).status_code == 200


def test_failures_at_the_same_moment_do_not_share_a_token(site: ApiSite) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: sign_in(site, password="wrong").status_code, range(10)))  # noqa: S106
    assert codes.count(401) == 5


def test_successes_are_not_limited(site: ApiSite) -> None:
    assert {sign_in(site).status_code for _ in range(7)} == {200}


def test_a_failure_of_a_known_account_is_in_its_audit_log(site: ApiSite) -> None:
    sign_in(site, password="wrong")  # noqa: S106
    assert actions(site) == [("owner@demo.example", "auth.sign_in_failed")]


def test_a_token_is_refused_after_signing_out_and_a_new_one_is_not(site: ApiSite) -> None:
    ask = signed_in(site)
    assert ask("DELETE", TOKEN).status_code == 204
    assert ask.get(ME).status_code == 401
    assert signed_in(site).get(ME).status_code == 200


def test_a_key_signs_nobody_out(site: ApiSite) -> None:
    ask, key = signed_in(site), ApiClient(site.app, site.api_key())
    answer = key("DELETE", TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert ask.get(ME).status_code == 200


@pytest.mark.parametrize("days", [None, 1, 30])
def test_a_key_made_by_a_key_ends_with_it_at_the_latest(site: ApiSite, days: int | None) -> None:
    asked = {"name": "first", "scopes": ["admin", "read"], "expires_in_days": 7}
    maker = signed_in(site).post(KEYS, asked).json()
    by_key = ApiClient(site.app, maker["key"])
    made = by_key.post(KEYS, {"name": "second", "scopes": ["read"], "expires_in_days": days})
    assert made.status_code == 201
    latest = datetime.fromisoformat(maker["expires_at"])
    ends = datetime.fromisoformat(made.json()["expires_at"])
    assert ends == latest if days != 1 else ends < latest - timedelta(days=5)


def test_a_token_is_refused_after_a_new_password(site: ApiSite) -> None:
    ask = signed_in(site)
    with transaction(site.engine) as session:
        users.set_password(session, "owner@demo.example", password_hash())
    assert ask.get(ME).status_code == 401


def test_a_removed_user_has_no_token_and_no_key(site: ApiSite) -> None:
    ask, key = signed_in(site), ApiClient(site.app, site.api_key())
    assert key.get(ME).status_code == 200
    with transaction(site.engine) as session:
        users.remove_user(session, "owner@demo.example")
    assert (ask.get(ME).status_code, key.get(ME).status_code) == (401, 401)


def test_a_changed_role_counts_at_once(site: ApiSite) -> None:
    ask = signed_in(site)
    with transaction(site.engine) as session:
        session.execute(text("UPDATE users SET role = 'viewer' WHERE email LIKE 'owner@demo%'"))
    assert ask.get(ME).json()["scopes"] == ["read"]


def test_an_api_key_does_what_its_scopes_and_its_users_role_allow(site: ApiSite) -> None:
    key = site.api_key(Scope.READ, Scope.ADMIN, role=Role.VIEWER)
    assert ApiClient(site.app, key).get(ME).json()["scopes"] == ["read"]
    answer = ApiClient(site.app, key).get("/api/v1/api-keys")
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_an_api_key_is_shown_once_and_kept_as_its_hash(site: ApiSite) -> None:
    ask = site.client()
    made = ask.post("/api/v1/api-keys", {"name": "shop", "scopes": ["read"]})
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith("iai_")
    assert len(key) == 47
    assert ApiClient(site.app, key).get(ME).json()["api_key"] == "shop"
    (listed,) = ask.get("/api/v1/api-keys").json()["items"]
    assert "key" not in listed
    assert listed["prefix"] == key[:12]
    assert listed["last_used_at"] is not None
    with transaction(site.engine) as session:
        stored = session.execute(text("SELECT string_agg(k::text, ' ') FROM api_keys k")).scalar()
        logged = session.execute(
            text("SELECT string_agg(a::text, ' ') FROM audit_entries a")
        ).scalar()
    assert key not in f"{stored} {logged}"


def test_a_revoked_key_and_an_expired_one_are_refused(site: ApiSite) -> None:
    ask = site.client()
    made = ask.post("/api/v1/api-keys", {"name": "a", "scopes": ["read"]}).json()
    assert ask("DELETE", f"/api/v1/api-keys/{made['id']}").status_code == 204
    assert ask("DELETE", f"/api/v1/api-keys/{made['id']}").status_code == 204
    short = ask.post(
        "/api/v1/api-keys", {"name": "b", "scopes": ["read"], "expires_in_days": 1}
    ).json()
    with transaction(site.engine) as session:
        session.execute(text("UPDATE api_keys SET expires_at = now() WHERE name = 'b'"))
    for key in (made["key"], short["key"]):
        assert ApiClient(site.app, key).get(ME).status_code == 401


@pytest.mark.parametrize("days", [True, 0, "90"])
def test_a_key_expires_after_a_whole_number_of_days(site: ApiSite, days: object) -> None:
    body = {"name": "a", "scopes": ["read"], "expires_in_days": days}
    answer = site.client().post("/api/v1/api-keys", body)
    assert answer.json()["errors"][0]["field"] == "body.expires_in_days"


def test_nobody_gives_a_key_more_than_it_has(site: ApiSite) -> None:
    ask = ApiClient(site.app, site.api_key(Scope.ADMIN))
    answer = ask.post("/api/v1/api-keys", {"name": "more", "scopes": ["jobs"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_too_many_requests_are_refused_with_when_to_come_again(site: ApiSite) -> None:
    few = site.with_settings(API_REQUESTS_PER_MINUTE="3")
    ask = few.client()
    answers = [ask.get(ME) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["ratelimit-limit"] == "3"
    assert 0 < int(answers[3].headers["retry-after"]) <= 20
    assert answers[3].json()["code"] == "rate_limited"
    assert few.client("other").get(ME).status_code == 200
    unlimited = few.with_settings(ENABLE_RATE_LIMITING="false").client()
    assert {unlimited.get(ME).status_code for _ in range(5)} == {200}


def test_a_tenant_cannot_multiply_its_limit_by_making_keys(site: ApiSite) -> None:
    few = site.with_settings(API_REQUESTS_PER_MINUTE="1")
    codes = [ApiClient(few.app, few.api_key()).get(ME).status_code for _ in range(7)]
    assert codes == [200] * 5 + [429] * 2
