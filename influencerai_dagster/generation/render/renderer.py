"""Define what a worker calls to render a job; each kind has its renderer in this folder."""

from typing import Protocol

from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.generation.queue import ClaimedJob


class Renderer(Protocol):
    """Renders the jobs of one kind; called from several threads."""

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one job on one server; return the output and its stored manifest."""
