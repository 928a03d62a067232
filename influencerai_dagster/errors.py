"""Every error that this project raises on purpose; callers choose by class, people read the text.

    InfluencerAIError
    ├── TransientError             try again later: a server is away, a time limit passed
    │   ├── InsufficientStorageError   the object store or a disk is full: wait until there is space
    │   ├── BackupRefusedError         Barman may not begin a backup yet
    │   └── WalSummariesMissingError   an incremental backup is impossible: take a full one
    └── PermanentError             trying again changes nothing: fail now and say why
        ├── ObjectNotFoundError    a key that was expected on S3 is not there
        └── UnknownNameError       nothing has this name: see core/names.py

A text names what was tried, the key, what was found, and what to do.
"""

from collections.abc import Mapping
from types import MappingProxyType


class InfluencerAIError(Exception):
    """Base of all errors of this project."""


class TransientError(InfluencerAIError):
    """A passing failure: the same call may work later."""


class InsufficientStorageError(TransientError):
    """No space left where bytes had to go; nothing that was there before is lost."""


class BackupRefusedError(TransientError):
    """Barman refused to begin a backup.

    Attributes:
        problems: its failed checks, name → hint; empty if it named none.
    """

    def __init__(self, text: str, problems: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(text)
        self.problems = problems


class WalSummariesMissingError(TransientError):
    """PostgreSQL lacks summaries of the WAL since the last full backup."""


class PermanentError(InfluencerAIError):
    """A failure that stays until a person changes something."""


class ObjectNotFoundError(PermanentError):
    """An object that a manifest or a caller names is not on S3."""


class UnknownNameError(PermanentError):
    """A name that nothing has; core/names.py writes the text.

    Attributes:
        operator_hint: what may have been meant, where only an operator may read it: the names of
            other tenants. It is not part of the text.
    """

    def __init__(self, text: str, *, operator_hint: str = "") -> None:
        super().__init__(text)
        self.operator_hint = operator_hint
