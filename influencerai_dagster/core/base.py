"""Define the pydantic base of every value that passes between folders, processes or machines."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value; an unknown field or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
