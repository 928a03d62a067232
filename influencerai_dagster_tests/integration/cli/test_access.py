"""Users, API keys and the audit log at the command line."""

import json

import pytest
from sqlalchemy import text

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster_tests.testing.command_line import CommandLine

PASSWORD = "a long enough password"  # noqa: S105 - of the tests
ANNA = "anna@example.com"


@pytest.fixture
def demo(cli: CommandLine) -> CommandLine:
    with transaction(cli.engine) as session:
        add_tenant(session, "demo")
    return cli


def add_anna(cli: CommandLine) -> None:
    added = cli("user", "add", ANNA, "--tenant", "demo", "--role", "owner", stdin=f"{PASSWORD}\n")
    assert added.exit_code == 0, added.text


def test_a_user_comes_and_goes(demo: CommandLine) -> None:
    add_anna(demo)
    (listed,) = json.loads(demo("user", "list", "--json").out)
    assert (listed["email"], listed["tenant"], listed["role"]) == (ANNA, "demo", "owner")
    assert demo("user", "set-password", ANNA, stdin=f"{PASSWORD}2\n").exit_code == 0
    assert demo("user", "remove", ANNA).exit_code == 0
    assert json.loads(demo("user", "list", "--tenant", "demo", "--json").out) == []
    rows = [json.loads(demo("audit", "list", "--tenant", "demo", "--json").out)]
    assert [(row["actor"], row["action"]) for row in rows[0]] == [
        ("operator", "users.remove"),
        ("operator", "users.set_password"),
        ("operator", "users.add"),
    ]


@pytest.mark.parametrize(
    ("email", "tenant", "password", "said"),
    [
        (ANNA, "demo", "short", "The password has 5 characters: use 12 to 200"),
        ("anna", "demo", PASSWORD, "'anna' is not an e-mail address"),
        (ANNA, "nobody", PASSWORD, "tenant 'nobody' is unknown"),
    ],
)
def test_a_bad_user_is_refused(
    demo: CommandLine, email: str, tenant: str, password: str, said: str
) -> None:
    answer = demo("user", "add", email, "--tenant", tenant, stdin=f"{password}\n")
    assert answer.exit_code == 1
    assert said in answer


def test_an_address_belongs_to_one_user(demo: CommandLine) -> None:
    add_anna(demo)
    answer = demo("user", "add", "Anna@Example.com", "--tenant", "demo", stdin=f"{PASSWORD}\n")
    assert (answer.exit_code, "exists already" in answer) == (1, True)


def test_an_api_key_is_printed_once_and_revoked(demo: CommandLine) -> None:
    add_anna(demo)
    made = demo("api-key", "add", "shop", "--user", ANNA, "--scope", "read", "--scope", "jobs")
    key = made.out.strip()
    assert key.startswith("iai_")
    listed = demo("api-key", "list", "--tenant", "demo", "--json").out
    assert key not in listed
    (row,) = json.loads(listed)
    assert row["scopes"] == ["jobs", "read"]
    revoked = demo("api-key", "revoke", row["api_key_id"], "--tenant", "demo", "--json")
    assert json.loads(revoked.out)["revoked_at"] is not None


def test_a_changed_audit_log_is_found(demo: CommandLine) -> None:
    add_anna(demo)
    (row,) = json.loads(demo("audit", "verify", "--json").out)
    assert (row["tenant"], row["entries"], len(row["sha256"])) == ("demo", 1, 64)
    with transaction(demo.engine) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("UPDATE audit_entries SET actor = 'nobody'"))
    answer = demo("audit", "verify")
    assert answer.exit_code == 1
    assert "The audit log of tenant 'demo' was changed: entry 1" in answer


def test_a_tenant_is_removed_with_its_users_and_its_audit_log(demo: CommandLine) -> None:
    from influencerai_dagster.retention.tenant_removal import remove_rows  # noqa: PLC0415

    add_anna(demo)
    demo("api-key", "add", "shop", "--user", ANNA, "--scope", "read")
    with transaction(demo.engine) as session:
        remove_rows(session, "demo")
    assert json.loads(demo("user", "list", "--json").out) == []


def test_migrate_prepares_the_role_of_the_api(demo: CommandLine) -> None:
    assert demo("migrate").exit_code == 0
    with transaction(demo.engine) as session:
        session.execute(text("SET LOCAL ROLE influencerai_api"))
        assert session.execute(text("SELECT count(*) FROM tenants")).scalar() == 0


@pytest.mark.parametrize(("option", "is_revoked"), [((), True), (("--keep-keys",), False)])
def test_a_new_password_revokes_the_keys_of_its_user(
    demo: CommandLine, option: tuple[str, ...], *, is_revoked: bool
) -> None:
    add_anna(demo)
    demo("api-key", "add", "shop", "--user", ANNA, "--scope", "read")
    answer = demo("user", "set-password", ANNA, *option, stdin=f"{PASSWORD}2\n")
    assert f"{int(is_revoked)} API keys were revoked" in answer
    (row,) = json.loads(demo("api-key", "list", "--tenant", "demo", "--json").out)
    assert (row["revoked_at"] is not None) == is_revoked
