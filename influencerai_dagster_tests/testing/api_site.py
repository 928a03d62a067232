"""The API on a catalog with two tenants, `demo` and `other`, that have the same things."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from influencerai_dagster.api.app import create_app
from influencerai_dagster.api.auth.passwords import hash_password
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.core.access import Role, Scope
from influencerai_dagster.db.api_keys import add_api_key
from influencerai_dagster.db.api_role import prepare_api_role
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.users import User, add_user
from influencerai_dagster.settings import settings_from
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.api_client import ApiClient
from influencerai_dagster_tests.testing.catalog_rows import add_two_tenants
from influencerai_dagster_tests.testing.servers import S3Server

PASSWORD = "a long enough password"  # noqa: S105 - of the tests
JWT_SECRET = "a secret of at least 32 characters"  # noqa: S105 - of the tests
TENANTS = ("demo", "other")


@dataclass
class ApiSite:
    """The API, its catalog, and a user of each role in each tenant.

    Attributes:
        users: by tenant and role; the address is `owner@demo.example`.
    """

    app: FastAPI
    context: ApiContext
    users: dict[tuple[str, Role], User]

    @property
    def engine(self) -> Engine:
        """The catalog, for all tenants."""
        return self.context.engine

    def anybody(self) -> ApiClient:
        """A client that sends no token."""
        return ApiClient(self.app)

    def client(self, tenant: str = "demo", role: Role = Role.OWNER) -> ApiClient:
        """A client that sends the token of a user."""
        user = self.users[tenant, role]
        token = self.context.tokens.sign(user.id, user.tenant, datetime.now(UTC))
        return ApiClient(self.app, token)

    def api_key(self, *scopes: Scope, tenant: str = "demo", role: Role = Role.OWNER) -> str:
        """A new API key of a user."""
        with transaction(self.engine) as session:
            return add_api_key(session, self.users[tenant, role], "shop", scopes or list(Scope))[1]

    def with_settings(self, **variables: str) -> "ApiSite":
        """The same with other settings of the API."""
        settings = settings_from(self.context.settings.variables_set() | variables)
        submitter = replace(
            self.context.submitter, max_pending=settings.generation.max_pending_jobs_per_tenant
        )
        context = replace(self.context, settings=settings, submitter=submitter)
        return replace(self, app=create_app(context), context=context)


def password_hash() -> str:
    if not _HASH:
        _HASH.append(hash_password(PASSWORD))
    return _HASH[0]


_HASH: list[str] = []


@pytest.fixture
def site(database_url: str, s3_server: S3Server, object_store: ObjectStore) -> Iterator[ApiSite]:
    prepare_api_role(database_url)
    settings = settings_from(
        {
            "DATABASE_URL": database_url,
            "S3_ENDPOINT": s3_server.endpoint_url,
            "S3_KEY": s3_server.access_key,
            "S3_SECRET": s3_server.secret_key,
            "S3_BUCKET": object_store.bucket,
            "COMFYUI_URL": "http://127.0.0.1:9",
            "DAGSTER_URL": "http://127.0.0.1:9",
            "JWT_SECRET": JWT_SECRET,
        }
    )
    context = ApiContext.of(settings)
    add_two_tenants(context.engine)
    with transaction(context.engine) as session:
        users = {
            (tenant, role): add_user(
                session, tenant, f"{role}@{tenant}.example", password_hash(), role
            )
            for tenant in TENANTS
            for role in Role
        }
    yield ApiSite(create_app(context), context, users)
    context.close()
