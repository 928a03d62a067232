"""Hold what the routes need, built once by wiring/ when the process starts."""

from dataclasses import dataclass
from importlib.metadata import version

from fastapi import Request
from sqlalchemy import Engine

from influencerai_dagster.api.health.checks import Readiness
from influencerai_dagster.settings import Settings
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.wiring.stores import assets_store, catalog_engine


@dataclass(frozen=True)
class ApiContext:
    """The domain objects of the process."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    readiness: Readiness
    version: str

    @classmethod
    def of(cls, settings: Settings) -> "ApiContext":
        """Build everything; nothing is connected yet."""
        engine, store = catalog_engine(settings), assets_store(settings)
        return cls(
            settings=settings,
            engine=engine,
            store=store,
            readiness=Readiness(engine, store),
            version=version("influencerai-dagster"),
        )


def api_context(request: Request) -> ApiContext:
    """Return the context of the application that serves a request."""
    context: ApiContext = request.app.state.context
    return context
