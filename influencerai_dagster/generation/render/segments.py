"""Render the segments of a video, each from the last frame of the one before, and store them.

A claim that dies loses only the segment that it rendered: the next claim of the job uses the stored
segments whose manifests prove that they belong to it. A video of one segment stores none.

Frames are kept as the PNG files that ComfyUI sent, in a ZIP that compresses nothing: the next
segment starts from exactly the pixels of the last one, and the encoder sees each only once.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.object_paths import segment_key, segments_prefix
from influencerai_dagster.core.sampling import VideoSampling
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.engines.comfyui.templates import (
    WorkflowTemplate,
    fill_video_workflow,
    workflow_sha256,
)
from influencerai_dagster.engines.comfyui.values import VIDEO_SUFFIXES, RenderResult
from influencerai_dagster.errors import InsufficientStorageError, PermanentError
from influencerai_dagster.generation.jobs import VideoJobPayload
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.render_job import (
    filename_prefix,
    refuse_one_colour,
    render_workflow,
)
from influencerai_dagster.generation.render.segment_manifest import SegmentManifest
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.segment_plan import segment_seed
from influencerai_dagster.media.frame_archives import (
    frame_name,
    pack_frames,
    pixels_sha256,
    unpack_frames,
)
from influencerai_dagster.storage.manifests import load_unverified
from influencerai_dagster.storage.object_store import WriteOnceStore


@dataclass
class RenderedSegments:
    """The frames of all segments of a video, on this disk.

    Attributes:
        segments: the manifest of each, in order.
        frames: in order, without those that only repeat the last of the segment before.
        video: a finished video instead, where the tenant's own template saves one.
    """

    segments: list[SegmentManifest] = field(default_factory=list)
    frames: list[Path] = field(default_factory=list)
    video: Path | None = None


@dataclass
class SegmentChain:
    """Makes the segments of one claimed job, one after the other.

    Attributes:
        sampling: of the first segment; another has a seed of its own.
        folder: scratch space on this disk; all frames of the video fit in it.
    """

    store: WriteOnceStore
    render_session: RenderSession
    server: str
    job: ClaimedJob
    payload: VideoJobPayload
    template: WorkflowTemplate
    sampling: VideoSampling
    folder: Path

    def run(self, image: bytes) -> RenderedSegments:
        """Render all segments, or use those that an earlier claim stored.

        Args:
            image: what the video starts from.

        Raises:
            PermanentError: the workflow cannot make the video; stored segments stay.
            TransientError: a server, S3 or the disk failed in passing, or the job was stopped; the
                next claim continues after the stored segments.
        """
        rendered = RenderedSegments()
        start = image
        for segment in range(self.payload.num_segments):
            starts_from = pixels_sha256(start)
            found = self._find(segment, starts_from)
            if found is None:
                found = self._render(segment, start, starts_from)
            manifest, files = found
            rendered.segments.append(manifest)
            if files[0].suffix in VIDEO_SUFFIXES:
                rendered.video = files[0]
                return rendered
            rendered.frames += files if segment == 0 else files[1:]
            start = files[-1].read_bytes()
        return rendered

    @cached_property
    def _stored_keys(self) -> frozenset[str]:
        """The keys that earlier claims wrote."""
        if self.payload.num_segments == 1 or self.job.lease_token == 1:
            return frozenset()
        prefix = segments_prefix(self.job.tenant, self.job.id)
        return frozenset(item.key for item in self.store.list(prefix))

    def _find(self, segment: int, starts_from: str) -> tuple[SegmentManifest, list[Path]] | None:
        """Fetch a segment that an earlier claim stored; an unproved one counts as missing."""
        for claim in range(1, self.job.lease_token):
            key = segment_key(self.job.tenant, self.job.id, segment, claim, ".json")
            if key in self._stored_keys:
                with suppress(PermanentError):
                    return self._fetch(key, segment, claim, starts_from)
        return None

    def _fetch(
        self, key: str, segment: int, claim: int, starts_from: str
    ) -> tuple[SegmentManifest, list[Path]]:
        """Read a stored segment; PermanentError if it is not this one, whole and of this chain."""
        manifest = load_unverified(self.store, key, SegmentManifest).manifest
        tenant, job_id, file = self.job.tenant, self.job.id, manifest.file
        if (
            file is None
            or (manifest.tenant, manifest.job_id, manifest.segment) != (tenant, job_id, segment)
            or file.object_key != segment_key(tenant, job_id, segment, claim, ".zip")
            or manifest.recipe_version != self._recipe_version(segment)
            or manifest.starts_from != starts_from
        ):
            raise PermanentError(f"{key} is not segment {segment} of this video")
        packed = self.folder / "segment.zip"
        with _disk(self.folder):
            self.store.download(file.object_key, packed, expected=file)
            return manifest, unpack_frames(
                packed, manifest.num_frames, lambda index: self._frame_path(segment, index)
            )

    def _render(
        self, segment: int, start: bytes, starts_from: str
    ) -> tuple[SegmentManifest, list[Path]]:
        """Render one segment; one of several is on S3 when this returns."""
        name = f"{self.job.id}-{segment}.png" if segment else f"{self.job.id}.png"
        client = self.render_session.server_pool[self.server].client
        image_name = client.upload_image(start, file_name=name, subfolder=self.job.tenant)
        workflow = self._workflow(segment, image_name, filename_prefix(self.job, segment))
        rendered = render_workflow(
            self.render_session, self.server, self.job, workflow, segment=segment
        )
        with _disk(self.folder):
            files = self._write(rendered.result, segment)
            file = self._store_frames(files, segment) if self.payload.num_segments > 1 else None
        manifest = SegmentManifest(
            tenant=self.job.tenant,
            job_id=self.job.id,
            segment=segment,
            recipe_version=self._recipe_version(segment),
            starts_from=starts_from,
            file=file,
            num_frames=len(files),
            sampling=self._sampling(segment),
            workflow_sha256=workflow_sha256(workflow),
            comfyui_url=rendered.url,
            comfyui_version=rendered.server.comfyui_version,
            prompt_id=rendered.result.prompt_id,
            render_seconds=rendered.result.seconds,
            is_simulated=rendered.server.is_simulated,
            created_at=datetime.now(UTC),
        )
        if file is not None:  # the manifest comes last: it says that the frames are whole
            text = manifest.model_dump_json(indent=2).encode()
            self.store.put_new(self._key(segment, ".json"), text)
        return manifest, files

    def _write(self, result: RenderResult, segment: int) -> list[Path]:
        """Write the output of a render to the disk: a video, or frames ordered by number."""
        videos = [item for item in result.files if item.file_name.endswith(VIDEO_SUFFIXES)]
        if videos and self.payload.num_segments == 1:
            path = self.folder / f"video{Path(videos[0].file_name).suffix}"
            path.write_bytes(videos[0].content)
            return [path]
        given = [item for item in result.files if item.file_name.lower().endswith(".png")]
        self._check_frames(len(given), result)
        refuse_one_colour([item.content for item in given])
        files = []
        for index, item in enumerate(sorted(given, key=lambda item: item.file_name)):
            files.append(self._frame_path(segment, index))
            files[-1].write_bytes(item.content)
        return files

    def _check_frames(self, num_frames: int, result: RenderResult) -> None:
        if num_frames == 0:
            found = ", ".join(item.file_name for item in result.files) or "nothing"
            wanted = "neither frames nor a video"
            if self.payload.num_segments > 1:
                wanted = f"no frames, of which {self.payload.num_segments} segments could be joined"
            raise PermanentError(
                f"workflow {self.template.name!r} gave {wanted}, but {found}: let it save PNG "
                f"frames, or ask for at most {self.payload.num_frames / self.payload.fps:.3g} s"
            )
        if num_frames < self.payload.num_frames and self.payload.num_segments > 1:
            raise PermanentError(
                f"workflow {self.template.name!r} gave {num_frames} frames, but num_frames is "
                f"{self.payload.num_frames}: set it to what the workflow makes"
            )

    def _store_frames(self, files: list[Path], segment: int) -> StoredFile:
        packed = self.folder / "segment.zip"
        pack_frames(files, packed)
        return self.store.put_new(self._key(segment, ".zip"), packed)

    def _workflow(self, segment: int, image_name: str, prefix: str) -> dict[str, object]:
        sampling = self._sampling(segment)
        return fill_video_workflow(
            self.template, sampling, image_name=image_name, filename_prefix=prefix
        )

    def _recipe_version(self, segment: int) -> str:
        """Return the hash of a segment's inputs, without file names, which differ by claim."""
        workflow = self._workflow(segment, "start.png", "frames")
        return fingerprint([self.payload.model_dump(mode="json"), workflow_sha256(workflow)])

    def _sampling(self, segment: int) -> VideoSampling:
        seed = segment_seed(self.sampling.seed, segment)
        return self.sampling.model_copy(update={"seed": seed})

    def _key(self, segment: int, suffix: str) -> str:
        return segment_key(self.job.tenant, self.job.id, segment, self.job.lease_token, suffix)

    def _frame_path(self, segment: int, index: int) -> Path:
        return self.folder / f"{segment:04}-{frame_name(index)}"


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Raise InsufficientStorageError if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InsufficientStorageError(
            f"the frames of a video do not fit into {folder}: {error}; free space for them"
        ) from error
