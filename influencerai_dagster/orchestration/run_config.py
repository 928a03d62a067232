"""Limit the run config of a launch to fields of our own models.

In a field of `dg.Config` Dagster replaces `{"env": NAME}` by the value of a variable, and every
field of a `dg.ConfigurableResource` is a field of the run config. A user who launches a run could
read its secrets, and give it another program, server or folder. Here Dagster checks the run config
of an op against types that it does not resolve; resources and the executor take none.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import dagster as dg
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.core.names import shown_value
from influencerai_dagster.errors import PermanentError

# Not a map, which refuses null among its values.
_ANY_FIELDS = dg.Permissive()  # type: ignore[no-untyped-call]
_DAGSTER_TYPES: dict[Any, Any] = {
    str: dg.String,
    str | None: dg.Noneable(dg.String),
    AwareDatetime | None: dg.Noneable(dg.String),
    BackupKind: dg.Enum("BackupKind", [dg.EnumValue(kind.value) for kind in BackupKind]),
    bool: dg.Bool,
    bool | None: dg.Noneable(dg.Bool),
    dict[str, Any]: _ANY_FIELDS,
    list[dict[str, Any]]: dg.Array(_ANY_FIELDS),
}


class RunConfig(BaseModel):
    """Base class of the run config of an op or an asset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def schema_for_dagster(cls) -> dict[str, dg.Field]:
        """Return the `config_schema` that Dagster checks a launch against."""
        defaults = cls().model_dump(mode="json")
        return {
            name: dg.Field(
                _DAGSTER_TYPES[field.annotation],
                default_value=defaults[name],
                description=field.description,
            )
            for name, field in cls.model_fields.items()
        }

    @classmethod
    def of(cls, context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Self:
        """Return what was set for the op that runs; PermanentError names the field."""
        is_asset = isinstance(context, dg.AssetExecutionContext)
        op_context = context.op_execution_context if is_asset else context
        try:
            return cls.model_validate(op_context.op_config)
        except ValidationError as error:
            (first, *_) = error.errors(include_url=False)
            raise PermanentError(
                f"the run config of {op_context.op.name} cannot be used: "
                f"{'.'.join(map(str, first['loc']))}: {first['msg']} "
                f"(found {shown_value(first['input'])})"
            ) from None


def fixed_resource(
    description: str,
    opened: Callable[[dg.InitResourceContext], AbstractContextManager[object]],
) -> dg.ResourceDefinition:
    """Return a resource that no run config can change; it is made again for every run and tick.

    Args:
        description: its text in the UI.
        opened: gives the resource for the time of a run or tick.
    """

    def initialize(context: dg.InitResourceContext) -> Iterator[object]:
        with opened(context) as value:
            yield value

    return dg.resource(config_schema={}, description=description)(initialize)


def as_resource(value: object) -> dg.ResourceDefinition:
    """Return a resource that is always this value, unless it is a definition already."""
    if isinstance(value, dg.ResourceDefinition):
        return value
    first_line = (type(value).__doc__ or "").partition("\n")[0]
    return fixed_resource(first_line, lambda _: nullcontext(value))


# A second process per step costs seconds of CPU; one run renders many jobs instead.
executor = dg.in_process_executor.configured(
    lambda _: {}, name=dg.in_process_executor.name, config_schema={}
)
"""Runs all steps in the run's own process, and takes no run config."""
