"""Build what Dagster loads: the definitions of every capability, their resources, the executor.

Each folder of orchestration/ lists its own assets, checks, sensors and schedules in its module
`definitions`; wiring/ builds domain objects from the settings. `build_definitions` takes other
resources, so that a test builds the same location on its own servers.
"""

from collections.abc import Mapping

import dagster as dg

from influencerai_dagster.orchestration.backups.definitions import backup_definitions
from influencerai_dagster.orchestration.generation.definitions import generation_definitions
from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.manifest_io_manager import manifest_io_manager
from influencerai_dagster.orchestration.resources.backups import (
    DatabaseBackupSetup,
    ObjectBackupSetup,
    RestoreDrillSetup,
)
from influencerai_dagster.orchestration.resources.catalog import catalog_resource
from influencerai_dagster.orchestration.resources.engines import (
    AutoCaptioner,
    ComfyUIServers,
    Kohya,
)
from influencerai_dagster.orchestration.resources.limits import Limits
from influencerai_dagster.orchestration.resources.object_store import object_store_resource
from influencerai_dagster.orchestration.resources.retention import Retention
from influencerai_dagster.orchestration.retention.definitions import retention_definitions
from influencerai_dagster.orchestration.run_config import as_resource, executor, fixed_resource
from influencerai_dagster.orchestration.training.definitions import training_definitions
from influencerai_dagster.program_environment import ignore_postgres_variables
from influencerai_dagster.settings import Settings, load_settings

CAPABILITIES = (
    training_definitions,
    generation_definitions,
    backup_definitions,
    retention_definitions,
)


def build_resources(settings: Settings) -> dict[str, object]:
    """Return the resources by key; each holds the settings and no value of its own."""
    return {
        "object_store": object_store_resource(settings),
        "io_manager": manifest_io_manager,
        "catalog": catalog_resource(settings.database.url),
        "comfyui": ComfyUIServers(settings),
        "kohya": Kohya(settings),
        "captioner": AutoCaptioner(settings),
        "database_backups": DatabaseBackupSetup(settings),
        "object_backups": ObjectBackupSetup(settings),
        "restore_drills": RestoreDrillSetup(settings),
        "retention": fixed_resource(
            "The rules of retention.", lambda _: Retention(settings).opened()
        ),
        "limits": Limits(settings),
    }


def build_definitions(
    settings: Settings, resources: Mapping[str, object] | None = None
) -> dg.Definitions:
    """Return the code location.

    Args:
        settings: become the resources, the pools, and the policies of checks and sensors.
        resources: used instead of those, by key.
    """
    found = {**build_resources(settings), **(resources or {})}
    return dg.Definitions.merge(
        *(definitions(settings) for definitions in CAPABILITIES),
        dg.Definitions(
            jobs=[*JOBS.values()],
            resources={key: as_resource(resource) for key, resource in found.items()},
            executor=executor,
        ),
    )


# libpq would look there for more than a URL says.
ignore_postgres_variables()
defs = build_definitions(load_settings())
