"""Parse and format partition keys and the names in them; no other module does.

This is a security boundary: Dagster accepts `a/../b/x` as a dynamic partition key, and a part of a
key becomes a part of an object key and of a path on disk. A part is `[a-z0-9][a-z0-9_-]{0,62}`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from influencerai_dagster.errors import PermanentError

_PART = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def check_part(value: str, what: str) -> str:
    """Return `value` if it may be a part of a key.

    Args:
        value: the name to check, for example a tenant.
        what: what the name is, for the error text ("tenant", "dataset").

    Raises:
        PermanentError: the name has other characters, is empty or is longer than 63.
    """
    if _PART.fullmatch(value) is None:
        raise PermanentError(
            f"{what} name {value[:80]!r} is not allowed: use 1 to 63 of a-z, 0-9, '_' and '-', "
            "starting with a letter or a digit"
        )
    return value


def parse_day(value: str) -> date:
    """Return the UTC day that `value` (YYYY-MM-DD) names.

    Raises:
        PermanentError: it is not a day of the calendar in exactly that form.
    """
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PermanentError(
        f"day {value[:40]!r} is not a date: use YYYY-MM-DD, for example 2026-11-23"
    )


def today() -> date:
    """Return the current day in UTC."""
    return datetime.now(UTC).date()


def _split(key: str, form: str) -> tuple[str, str]:
    parts = key.split("/")
    if len(parts) != 2:  # noqa: PLR2004 - a key has two parts, as the error says
        raise PermanentError(f"partition key {key[:160]!r} is not of the form {form}")
    return parts[0], parts[1]


@dataclass(frozen=True, order=True)
class DatasetKey:
    """One dataset of one tenant; as a partition key `<tenant>/<dataset>`."""

    tenant: str
    dataset: str

    def __post_init__(self) -> None:
        check_part(self.tenant, "tenant")
        check_part(self.dataset, "dataset")

    def __str__(self) -> str:
        return f"{self.tenant}/{self.dataset}"

    @classmethod
    def parse(cls, key: str) -> "DatasetKey":
        """Parse `<tenant>/<dataset>`; PermanentError if it is anything else."""
        return cls(*_split(key, "<tenant>/<dataset>"))


@dataclass(frozen=True, order=True)
class DayKey:
    """One UTC day of one tenant; as a partition key `<tenant>/<YYYY-MM-DD>`."""

    tenant: str
    day: date

    def __post_init__(self) -> None:
        check_part(self.tenant, "tenant")

    def __str__(self) -> str:
        return f"{self.tenant}/{self.day.isoformat()}"

    @classmethod
    def parse(cls, key: str) -> "DayKey":
        """Parse `<tenant>/<YYYY-MM-DD>`; PermanentError if it is anything else."""
        tenant, day = _split(key, "<tenant>/<YYYY-MM-DD>")
        return cls(tenant, parse_day(day))


def tenant_of_partition(key: str) -> str | None:
    """Return the tenant of a partition key of either set; None if it is not of such a form."""
    try:
        return DatasetKey.parse(key).tenant  # a day has the form of a dataset's name
    except PermanentError:
        return None
