"""Return long lists page by page, by the id of the last item of a page."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator

from influencerai_dagster.core import keys
from influencerai_dagster.errors import PermanentError

MAX_LIMIT = 200


def _parse_day(value: str) -> date:
    try:
        return keys.parse_day(value)
    except PermanentError as error:
        raise ValueError(str(error)) from None


Day = Annotated[date, BeforeValidator(_parse_day)]
"""A day as YYYY-MM-DD alone: pydantic would take a number of seconds too."""
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="at most so many items")]
Cursor = Annotated[
    UUID | None, Query(description="`next_cursor` of the page before; leave it out for the first")
]
