"""The tables of the catalog; with any of them all are known, whoever asks for the metadata."""

from influencerai_dagster.db.models import access, content, jobs, retention, scheduling

__all__ = ["access", "content", "jobs", "retention", "scheduling"]
