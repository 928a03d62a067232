"""No route and no query gives a tenant what belongs to another."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select, text

from influencerai_dagster.api.app import ROUTERS
from influencerai_dagster.db.api_role import API_ROLE, tenant_engine
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.content import CatalogModel, InfluencerRow, TenantRow
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.db.tenants import put_influencer
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.api_site import ApiSite
from influencerai_dagster_tests.testing.catalog_rows import claim_all, complete_job, submit_one
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

IMAGE = {"payload": {"kind": "image", "prompt": "bella"}}


def foreign_key(site: ApiSite) -> str:
    body = {"name": "x", "scopes": ["read"]}
    return str(site.client("other").post("/api/v1/api-keys", body).json()["id"])


def foreign_job(site: ApiSite) -> str:
    return str(submit_one(site.engine, tenant="other").id)


def foreign_batch(site: ApiSite) -> str:
    return str(site.client("other").post("/api/v1/jobs", {"jobs": [IMAGE]}).json()["id"])


def foreign_media(site: ApiSite) -> str:
    submit_one(site.engine, tenant="other")
    job = claim_all(site.engine, tenant="other")[-1]
    return str(complete_job(site.engine, job).id)


def foreign_influencer(site: ApiSite) -> str:
    with transaction(site.engine) as session:
        put_influencer(
            session, "other", "nova", dataset="nova", trigger_phrase="n", class_caption="n"
        )
    return "nova"


FOREIGN: dict[str, Callable[[ApiSite], str]] = {
    "key_id": foreign_key,
    "job_id": foreign_job,
    "batch_id": foreign_batch,
    "media_id": foreign_media,
    "influencer": foreign_influencer,
    "list_jobs.cursor": foreign_job,
    "list_media.cursor": foreign_media,
}
"""For every parameter in a path, an id that the tenant `other` has and `demo` has not."""
WITHOUT_ID = {
    *("health", "ready", "sign_in", "sign_out", "get_me", "list_api_keys", "create_api_key"),
    *("submit_jobs", "list_influencers", "get_queue", "get_usage"),
}
"""Operations that name nothing by an id; their answers are compared below."""
OWN_NAMES = {"put_influencer"}
"""Operations whose name in the path is chosen by the caller, within its tenant."""


class Operation(NamedTuple):
    name: str
    method: str
    path: str
    parameters: frozenset[str]
    body: Any

    def case(self, parameter: str) -> str | None:
        """The name in FOREIGN of a parameter; None if it is not an id."""
        own = f"{self.name}.{parameter}"
        return own if own in FOREIGN else parameter if parameter in FOREIGN else None

    @property
    def has_case(self) -> bool:
        in_path = {name for name in self.parameters if f"{{{name}}}" in self.path}
        is_named = any(self.case(name) for name in self.parameters) or self.name in WITHOUT_ID
        return is_named and all(self.case(name) for name in in_path)


def operations(site: ApiSite) -> Iterator[Operation]:
    """Every operation of the API, with the example of its body."""
    document = site.app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = frozenset(item["name"] for item in operation.get("parameters", []))
            body = None
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                name = schema["$ref"].rpartition("/")[2]
                body = document["components"]["schemas"][name]["example"]
            yield Operation(operation["operationId"], method.upper(), path, names, body)


def test_every_route_answers_404_to_every_foreign_id(site: ApiSite) -> None:
    ask = site.client("demo")
    all_of_them = list(operations(site))
    without_case = [operation.name for operation in all_of_them if not operation.has_case]
    assert without_case == [], "give the route a case in FOREIGN, or name it in WITHOUT_ID"
    asked = []
    for operation in all_of_them:
        for name in operation.parameters:
            case = operation.case(name)
            if case is None or operation.name in OWN_NAMES:
                continue
            path = operation.path.replace(f"{{{name}}}", FOREIGN[case](site))
            params = {} if path != operation.path else {name: FOREIGN[case](site)}
            answer = ask(operation.method, path, params=params, json=operation.body)
            asked.append((operation.name, name, answer.status_code, answer.json().get("code")))
    assert {(status, code) for *_, status, code in asked} == {(404, "not_found")}, asked


def test_no_route_is_hidden_from_the_test_of_foreign_ids() -> None:
    routes = [route for router in ROUTERS for route in router.routes]
    assert [route for route in routes if not getattr(route, "include_in_schema", False)] == []


def test_a_foreign_id_and_an_unknown_one_have_the_same_answer(site: ApiSite) -> None:
    ask = site.client("demo")
    foreign = FOREIGN["key_id"](site)
    unknown = "00000000-0000-4000-8000-000000000000"
    answers = [ask("DELETE", f"/api/v1/api-keys/{item}").json() for item in (foreign, unknown)]
    assert answers[0]["detail"].replace(foreign, unknown) == answers[1]["detail"]


def test_the_engine_of_all_tenants_is_only_for_finding_out_who_asks() -> None:
    folder = PROJECT_DIR / "influencerai_dagster" / "api"
    users = {
        path.relative_to(folder).parts[0]
        for path in folder.rglob("*.py")
        if re.search(r"context\.engine|catalog_engine", path.read_text(encoding="utf-8"))
    }
    assert users == {"auth", "context.py"}


def test_lists_have_only_what_is_ones_own(site: ApiSite) -> None:
    FOREIGN["key_id"](site)
    assert site.client("demo").get("/api/v1/api-keys").json()["items"] == []


def test_a_name_that_another_tenant_has_is_free(site: ApiSite) -> None:
    foreign_influencer(site)
    body = {"name": "N", "dataset": "nova", "trigger_phrase": "mine", "class_caption": "n"}
    assert site.client("demo")("PUT", "/api/v1/influencers/nova", json=body).status_code == 200
    theirs = site.client("other").get("/api/v1/influencers/nova").json()
    assert theirs["trigger_phrase"] == "n"


def test_a_query_that_forgot_the_tenant_still_sees_only_its_own(site: ApiSite) -> None:
    for tenant in ("demo", "other"):
        submit_one(site.engine, tenant=tenant)
    confined = tenant_engine(site.context.tenant_engine, "demo")
    with transaction(confined) as session:
        assert set(session.scalars(select(JobRow.tenant_id))) == {"demo"}
        assert set(session.scalars(select(InfluencerRow.tenant_id))) == {"demo"}
        assert set(session.scalars(select(TenantRow.id))) == {"demo"}
    with transaction(site.engine) as session:
        assert set(session.scalars(select(JobRow.tenant_id))) == {"demo", "other"}


def test_a_write_that_forgot_the_tenant_changes_only_its_own(site: ApiSite) -> None:
    jobs = {tenant: submit_one(site.engine, tenant=tenant) for tenant in ("demo", "other")}
    confined = tenant_engine(site.context.tenant_engine, "demo")
    with transaction(confined) as session:
        session.execute(text("UPDATE jobs SET priority = 9"))
    with transaction(site.engine) as session:
        found = {row.tenant_id: row.priority for row in session.scalars(select(JobRow))}
    assert found == {"demo": 9, "other": jobs["other"].priority}
    with (
        pytest.raises(PermanentError, match="row-level security"),
        transaction(confined) as session,
    ):
        session.execute(
            text(
                "INSERT INTO influencers (tenant_id, id, name, persona, dataset, trigger_phrase,"
                " class_caption) VALUES ('other', 'x', 'x', '{}', 'x', 'x', 'x')"
            )
        )


def test_a_transaction_without_a_tenant_sees_nothing(site: ApiSite) -> None:
    submit_one(site.engine)
    for _ in range(2):  # also on a connection that had one
        with transaction(site.context.tenant_engine) as session:
            assert list(session.scalars(select(JobRow.id))) == []
        with transaction(tenant_engine(site.context.tenant_engine, "demo")) as session:
            assert len(list(session.scalars(select(JobRow.id)))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT password_hash FROM users",
        "UPDATE users SET role = 'owner'",
        "DELETE FROM jobs",
        "UPDATE audit_entries SET actor = 'x'",
        "DELETE FROM audit_entries",
        "SELECT * FROM workers",
        "SELECT * FROM rate_buckets",
        "CREATE TABLE mine (id int)",
    ],
)
def test_the_role_may_do_no_more_than_the_routes_need(site: ApiSite, statement: str) -> None:
    confined = tenant_engine(site.context.tenant_engine, "demo")
    with pytest.raises(PermanentError, match="permission denied"), transaction(confined) as session:
        session.execute(text(statement))


def test_every_table_of_tenants_has_its_policy(site: ApiSite) -> None:
    of_tenants = {
        table.name for table in CatalogModel.metadata.sorted_tables if "tenant_id" in table.c
    }
    with transaction(site.engine) as session:
        rows = session.execute(
            text(
                "SELECT tablename FROM pg_policies JOIN pg_class ON relname = tablename"
                " WHERE policyname = 'own_tenant' AND relrowsecurity AND qual LIKE :role"
            ),
            {"role": f"%{API_ROLE}%"},
        )
        protected = set(rows.scalars())
    assert protected == of_tenants | {"tenants"}
