"""Define the roles of users and the scopes of API keys: who may do what."""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a user is in its tenant."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class Scope(StrEnum):
    """What a request may do: read, submit jobs, change influencers and datasets, manage access."""

    READ = "read"
    JOBS = "jobs"
    DATASETS = "datasets"
    ADMIN = "admin"


SCOPES_OF_ROLE: Mapping[Role, frozenset[Scope]] = {
    Role.OWNER: frozenset(Scope),
    Role.EDITOR: frozenset({Scope.READ, Scope.JOBS, Scope.DATASETS}),
    Role.VIEWER: frozenset({Scope.READ}),
}
"""What each role may do; an API key has the part of it that its scopes name."""
