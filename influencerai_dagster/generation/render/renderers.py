"""Choose the renderer of a job by its kind: a new kind of job is added to this table."""

from collections.abc import Callable, Mapping
from typing import Protocol

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.render.videos import VideoRenderer
from influencerai_dagster.storage.object_store import ObjectStore


class Renderer(Protocol):
    """Renders the jobs of one kind; called from several threads."""

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one job on one server; return the output and its stored manifest."""


RENDERERS: Mapping[JobKind, Callable[[Engine, ObjectStore, RenderSession], Renderer]] = {
    JobKind.IMAGE: ImageRenderer,
    JobKind.VIDEO: VideoRenderer,
}
