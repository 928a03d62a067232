"""Metadata that a person wants to look at in the Dagster UI: pictures, tables, links."""

import base64
from collections.abc import Sequence

import dagster as dg

OWNER = "team:studio"


def picture(data: bytes, alt: str, media_type: str = "image/jpeg") -> dg.MarkdownMetadataValue:
    """Return a picture as the UI shows it, inside the metadata itself.

    The UI's origin has no access to S3 without a presigned link, and a link would expire.
    """
    return dg.MetadataValue.md(
        f"![{alt}](data:{media_type};base64,{base64.b64encode(data).decode()})"
    )


def table(rows: Sequence[dict[str, str | int | float]]) -> dg.TableMetadataValue | str:
    """Return rows as a table, or a word that there are none."""
    if not rows:
        return "none"
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
