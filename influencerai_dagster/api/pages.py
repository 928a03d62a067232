"""Return long lists page by page, by the id of the last item of a page."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

MAX_LIMIT = 200
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="at most so many items")]
Cursor = Annotated[
    UUID | None, Query(description="`next_cursor` of the page before; leave it out for the first")
]
