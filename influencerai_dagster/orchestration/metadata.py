"""Build metadata to look at in the Dagster UI: images, tables, links."""

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from influencerai_dagster.core.object_paths import file_link
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.media.contact_sheets import data_uri, markdown_image, png_data_uri

Metadata = dict[str, Any]
"""Metadata by label; Dagster turns plain values into metadata values."""

OWNER = "team:studio"
SHEET_COLUMNS = 3
THUMB_PX = 320
"""As wide as the UI's dialog, and large enough to see the details of an image."""
MAX_ROWS = 200
"""The event log keeps every table: all rows are in the manifest."""
_JPEG = b"\xff\xd8"
_MARKDOWN = frozenset("\\`*_{}[]()<>#+-.!|~&")


def inline_image(data: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """Return a JPEG or PNG as the UI shows it, inside the metadata itself.

    The UI's origin has no access to S3 without a presigned link, and a link would expire.
    """
    uri = data_uri(data) if data.startswith(_JPEG) else png_data_uri(data)
    return dg.MetadataValue.md(markdown_image(uri, alt))


def file_links(files: Iterable[tuple[str, str]]) -> dg.MarkdownMetadataValue:
    """Return a list that opens each object in the browser: (words, object key) pairs."""
    lines = (f"1. [{_plain(words)}]({file_link(key)})" for words, key in files)
    return dg.MetadataValue.md("\n".join(lines))


def _plain(words: str) -> str:
    """Return words without what Markdown would read as its own."""
    return "".join(f"\\{letter}" if letter in _MARKDOWN else letter for letter in words)


def stored_metadata(stored: StoredFile) -> Metadata:
    """Return where a published manifest is: the IO manager loads it by these three values."""
    return stored.model_dump()


def table(rows: Sequence[dict[str, str | int | float]]) -> dg.TableMetadataValue | str:
    """Return the first MAX_ROWS rows as a table, or a word that there are none."""
    if not rows:
        return "none"
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows[:MAX_ROWS]])
