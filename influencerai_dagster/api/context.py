"""Hold what the routes need, built once by wiring/ when the process starts."""

from dataclasses import dataclass
from importlib.metadata import version

from fastapi import Request
from sqlalchemy import Engine

from influencerai_dagster.api.auth.tokens import Tokens
from influencerai_dagster.api.health.checks import Readiness
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.wiring.generation import job_submitter
from influencerai_dagster.wiring.stores import assets_store, catalog_engine, tenants_engine


@dataclass(frozen=True)
class ApiContext:
    """The domain objects of the process.

    Attributes:
        engine: of the catalog, for all tenants: only to find out who is asking.
        tenant_engine: of the catalog, for one tenant; `Caller.engine` says which.
    """

    settings: Settings
    engine: Engine
    tenant_engine: Engine
    tokens: Tokens
    store: ObjectStore
    submitter: JobSubmitter
    readiness: Readiness
    version: str

    @classmethod
    def of(cls, settings: Settings) -> "ApiContext":
        """Build everything; nothing is connected yet.

        Raises:
            PermanentError: JWT_SECRET is not set.
        """
        engine, store = catalog_engine(settings), assets_store(settings)
        of_tenants = tenants_engine(settings)
        return cls(
            settings=settings,
            engine=engine,
            tenant_engine=of_tenants,
            tokens=_tokens(settings),
            store=store,
            submitter=job_submitter(settings, of_tenants, store),
            readiness=Readiness(engine, store),
            version=version("influencerai-dagster"),
        )

    def dagster(self) -> DagsterGraphQL:
        """Return a client of Dagster's web server, for one thread; close it."""
        own = self.settings.dagster
        return DagsterGraphQL(own.url, CODE_LOCATION, credentials=own.credentials)

    def close(self) -> None:
        """Close the connections to PostgreSQL."""
        self.engine.dispose()
        self.tenant_engine.dispose()


def _tokens(settings: Settings) -> Tokens:
    api = settings.api
    if api.jwt_secret is None:
        raise PermanentError(
            "The API cannot start: JWT_SECRET is not set, and without it no token could be signed. "
            "Set it to at least 32 characters: `openssl rand -base64 48` makes some"
        )
    previous = api.jwt_secret_previous
    return Tokens(
        api.jwt_secret.get_secret_value(),
        previous.get_secret_value() if previous else None,
        api.jwt_expires_in,
    )


def api_context(request: Request) -> ApiContext:
    """Return the context of the application that serves a request."""
    context: ApiContext = request.app.state.context
    return context
