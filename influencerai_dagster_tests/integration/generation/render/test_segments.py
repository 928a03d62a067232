"""A long video is a chain of segments; a crash costs the one that it hit, and no other."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.sampling import VIDEO_FORMATS, VideoFormat
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.templates import shipped_template
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation.jobs import VideoJobPayload
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render import render_job as comfyui_jobs
from influencerai_dagster.generation.render import videos
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.segment_manifest import SegmentManifest
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.render.videos import VideoRenderer
from influencerai_dagster.generation.segment_plan import segment_seed
from influencerai_dagster.media import frame_archives
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.integration.generation.render.test_videos import submit_video
from influencerai_dagster_tests.testing.catalog_rows import claim_one
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.photos import contents
from influencerai_dagster_tests.testing.render_servers import completed_image

NUM_SEGMENTS = 3
SEED = 7


class KilledError(BaseException):
    """The worker died here."""


@pytest.fixture
def renderer_of_videos(
    engine: Engine,
    object_store: ObjectStore,
    render_session: RenderSession,
    monkeypatch: pytest.MonkeyPatch,
) -> VideoRenderer:
    """A renderer of small videos: what is looked at here does not depend on their size."""
    monkeypatch.setitem(videos._RENDER_SIZES, "1:1", (64, 64))  # noqa: SLF001 - size, not behaviour
    monkeypatch.setitem(VIDEO_FORMATS, "1:1", VideoFormat(width_px=64, height_px=64, fps=30))
    return VideoRenderer(engine, object_store, render_session)


@pytest.fixture
def job(renderer: ImageRenderer, comfyui: ComfyUISimulator) -> ClaimedJob:
    """A claimed video of 1 s: 7 frames at 7 fps, which are 3 segments of 3 frames."""
    source = completed_image(renderer, comfyui.url)
    submit_video(renderer.engine, source.id, num_frames=3, fps=7, duration_seconds=1.0, seed=SEED)
    return claim_one(renderer.engine, kind=JobKind.VIDEO)


def later(job: ClaimedJob, claim: int = 2) -> ClaimedJob:
    """The claim of the worker that comes after one that died."""
    return replace(job, lease_token=claim)


def with_payload(job: ClaimedJob, **changes: Any) -> ClaimedJob:
    fields = job.payload.model_dump() | changes
    return replace(job, payload=VideoJobPayload.model_validate(fields))


def die_at(monkeypatch: pytest.MonkeyPatch, segment: int, *, is_rendered: bool) -> None:
    """Let the worker die at a segment, before it is sent or after the server finished it."""

    def render_workflow(*arguments: Any, **options: Any) -> Any:
        is_here = options["segment"] == segment
        if is_here and not is_rendered:
            raise KilledError
        rendered = comfyui_jobs.render_workflow(*arguments, **options)
        if is_here:
            raise KilledError
        return rendered

    monkeypatch.setattr(
        "influencerai_dagster.generation.render.segments.render_workflow", render_workflow
    )


def killed_at(
    renderer: VideoRenderer, job: ClaimedJob, server: str, segment: int, *, is_rendered: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, segment, is_rendered=is_rendered)
        with pytest.raises(KilledError):
            renderer.render(job, server)


def rendered(
    comfyui: ComfyUISimulator, job: ClaimedJob, count: str = "rendered"
) -> dict[tuple[int, int], int]:
    """How often each segment of each claim was rendered, by (claim, segment)."""
    prompts = comfyui.stats()["prompts"]
    places = {
        (claim, segment): prompts.get(prompt_id(job.id, claim, segment))
        for claim in (1, 2, 3)
        for segment in range(NUM_SEGMENTS)
    }
    return {place: found[count] for place, found in places.items() if found is not None}


def folder_of(job: ClaimedJob) -> str:
    return f"videos/demo/{job.id}/"


def stored(store: ObjectStore, job: ClaimedJob) -> set[str]:
    return {item.key.removeprefix(folder_of(job)) for item in store.list(folder_of(job))}


def manifest_of(store: ObjectStore, job: ClaimedJob, name: str) -> SegmentManifest:
    return SegmentManifest.model_validate_json(store.get(f"{folder_of(job)}{name}"))


def frames_of(store: ObjectStore, job: ClaimedJob, name: str) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(store.get(f"{folder_of(job)}{name}"))) as file:
        return [file.read(item) for item in file.infolist()]


def pixels(frame: bytes) -> bytes:
    with Image.open(io.BytesIO(frame)) as image:
        return image.convert("RGB").tobytes()


def test_a_long_video_is_a_chain_of_segments_that_are_stored_one_by_one(
    renderer_of_videos: VideoRenderer, job: ClaimedJob, comfyui: ComfyUISimulator
) -> None:
    store = renderer_of_videos.store
    output, _ = renderer_of_videos.render(job, comfyui.url)
    assert output.video is not None
    assert output.video["num_frames"] == 30
    assert stored(store, job) == {
        *("output.mp4", "output.jpg", "output.json"),
        *(f"segment-000{n}{suffix}" for n in range(3) for suffix in (".zip", ".json")),
    }
    assert rendered(comfyui, job) == {(1, 0): 1, (1, 1): 1, (1, 2): 1}
    manifests = [manifest_of(store, job, f"segment-000{n}.json") for n in range(NUM_SEGMENTS)]
    assert output.segments == tuple(item.file for item in manifests)
    assert output.render_seconds == pytest.approx(sum(item.render_seconds for item in manifests))
    assert [item.sampling.seed for item in manifests] == [
        segment_seed(SEED, n) for n in range(NUM_SEGMENTS)
    ]
    for number in (1, 2):
        last = frames_of(store, job, f"segment-000{number - 1}.zip")[-1]
        sent = comfyui.input_dir / "demo" / f"{job.id}-{number}.png"
        assert pixels(sent.read_bytes()) == pixels(last), "it starts from another image"
        digest = hashlib.sha256(b"(64, 64)" + pixels(last)).hexdigest()
        assert manifests[number].starts_from == digest


@pytest.mark.parametrize("is_rendered", [False, True], ids=["not rendered", "rendered"])
def test_a_crash_repeats_only_the_segment_that_it_hit(
    renderer_of_videos: VideoRenderer,
    job: ClaimedJob,
    comfyui: ComfyUISimulator,
    *,
    is_rendered: bool,
) -> None:
    store = renderer_of_videos.store
    killed_at(renderer_of_videos, job, comfyui.url, 1, is_rendered=is_rendered)
    assert stored(store, job) == {"segment-0000.zip", "segment-0000.json"}
    output, manifest = renderer_of_videos.render(later(job), comfyui.url)
    assert manifest.object_key.endswith("output-2.json")
    if is_rendered:  # what the server has is fetched
        assert rendered(comfyui, job) == {(1, 0): 1, (1, 1): 1, (2, 2): 1}
    else:
        assert rendered(comfyui, job) == {(1, 0): 1, (2, 1): 1, (2, 2): 1}
    first = manifest_of(store, job, "segment-0000.json")
    rest = [manifest_of(store, job, f"segment-000{n}-2.json") for n in (1, 2)]
    assert output.segments == tuple(item.file for item in (first, *rest))
    assert output.render_seconds == pytest.approx(
        sum(item.render_seconds for item in (first, *rest))
    )
    assert first.render_seconds > 0


def test_a_crash_after_the_last_segment_repeats_none(
    renderer_of_videos: VideoRenderer,
    job: ClaimedJob,
    comfyui: ComfyUISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(videos, "frames_to_mp4", die)
        with pytest.raises(KilledError):
            renderer_of_videos.render(job, comfyui.url)
    with ComfyUIClient(comfyui.url) as client:
        for segment in range(NUM_SEGMENTS):
            client.forget(prompt_id(job.id, 1, segment))
    output, _ = renderer_of_videos.render(later(job), comfyui.url)
    assert rendered(comfyui, job) == {(1, 0): 1, (1, 1): 1, (1, 2): 1}
    assert output.file.object_key.endswith("output-2.mp4")


def truncated(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


def of_another_tenant(data: bytes) -> bytes:
    fields = json.loads(data)
    fields["file"]["object_key"] = fields["file"]["object_key"].replace("/demo/", "/other/")
    return json.dumps(fields).encode()


def from_another_image(data: bytes) -> bytes:
    return json.dumps(json.loads(data) | {"starts_from": "0" * 64}).encode()


def of_another_payload(data: bytes) -> bytes:
    return json.dumps(json.loads(data) | {"recipe_version": "0" * 32}).encode()


@pytest.mark.parametrize(
    ("suffix", "spoil"),
    [
        (".zip", truncated),
        (".zip", flipped),
        (".json", truncated),
        (".json", of_another_tenant),
        (".json", from_another_image),
        (".json", of_another_payload),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_stored_segment_that_is_not_what_it_should_be_is_rendered_again(
    renderer_of_videos: VideoRenderer,
    job: ClaimedJob,
    comfyui: ComfyUISimulator,
    suffix: str,
    spoil: Callable[[bytes], bytes],
) -> None:
    store = renderer_of_videos.store
    killed_at(renderer_of_videos, job, comfyui.url, 2, is_rendered=False)
    key = f"{folder_of(job)}segment-0001{suffix}"
    bad = spoil(store.get(key))
    store.put_latest(key, bad)
    with ComfyUIClient(comfyui.url) as client:
        client.forget(prompt_id(job.id, 1, 1))
    output, _ = renderer_of_videos.render(later(job), comfyui.url)
    # Sent again: a server that has sampled these very values before takes them from its cache.
    sent = rendered(comfyui, job, "posted")
    assert sent == {(1, 0): 1, (1, 1): 1, (2, 1): 1, (2, 2): 1}
    assert [item.object_key.removeprefix(folder_of(job)) for item in output.segments] == [
        *("segment-0000.zip", "segment-0001-2.zip", "segment-0002-2.zip"),
    ]
    assert store.get(key) == bad, "no object is ever overwritten"


@pytest.mark.parametrize("changes", [{"seed": 8}, {"motion_bucket_id": 1}], ids=str)
def test_segments_of_another_payload_are_not_taken(
    renderer_of_videos: VideoRenderer,
    job: ClaimedJob,
    comfyui: ComfyUISimulator,
    changes: dict[str, int],
) -> None:
    killed_at(renderer_of_videos, job, comfyui.url, 1, is_rendered=False)
    with ComfyUIClient(comfyui.url) as client:
        client.forget(prompt_id(job.id, 1))
    other = with_payload(later(job), **changes)
    renderer_of_videos.render(other, comfyui.url)
    assert rendered(comfyui, job) == {(1, 0): 1, (2, 0): 1, (2, 1): 1, (2, 2): 1}


def test_a_job_that_is_stopped_between_segments_begins_no_other(
    renderer_of_videos: VideoRenderer,
    job: ClaimedJob,
    comfyui: ComfyUISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pack_frames(*arguments: Any) -> None:
        frame_archives.pack_frames(*arguments)
        renderer_of_videos.render_session.interrupt(job.id)

    with monkeypatch.context() as patch:
        patch.setattr("influencerai_dagster.generation.render.segments.pack_frames", pack_frames)
        with pytest.raises(TransientError, match="was stopped before its next render"):
            renderer_of_videos.render(job, comfyui.url)
    assert rendered(comfyui, job) == {(1, 0): 1}
    renderer_of_videos.render_session.end(job.id)
    again, _ = renderer_of_videos.render(later(job), comfyui.url)
    assert isinstance(again, OutputManifest)


def put_video_template(store: ObjectStore) -> None:
    """A tenant's own template, which saves a video and no frames."""
    nodes = json.loads(json.dumps(dict(shipped_template("svd_image_to_video").nodes)))
    nodes["7"] = {"class_type": "CreateVideo", "inputs": {"images": ["6", 0], "fps": 7.0}}
    nodes["8"] = {
        "class_type": "SaveVideo",
        "inputs": {"video": ["7", 0], "filename_prefix": "x", "format": "mp4", "codec": "h264"},
    }
    store.put_latest("workflows/demo/video.json", json.dumps(nodes).encode())


def test_a_template_that_saves_a_video_makes_a_video_of_one_segment(
    renderer_of_videos: VideoRenderer, job: ClaimedJob, comfyui: ComfyUISimulator
) -> None:
    put_video_template(renderer_of_videos.store)
    one = with_payload(job, workflow="video", num_frames=7)
    output, _ = renderer_of_videos.render(one, comfyui.url)
    assert output.segments == ()
    assert output.video is not None
    assert output.video["duration_seconds"] == pytest.approx(1, abs=0.04)


def test_a_template_that_saves_a_video_cannot_make_several_segments_and_is_told_so(
    renderer_of_videos: VideoRenderer, job: ClaimedJob, comfyui: ComfyUISimulator
) -> None:
    put_video_template(renderer_of_videos.store)
    before = contents(renderer_of_videos.store)
    with pytest.raises(PermanentError) as caught:
        renderer_of_videos.render(with_payload(job, workflow="video"), comfyui.url)
    text = str(caught.value)
    assert "workflow 'video' gave no frames, of which 3 segments could be joined" in text
    assert "let it save PNG frames, or ask for at most 0.429 s" in text
    assert contents(renderer_of_videos.store) == before


def test_a_video_shorter_than_its_job_asks_for_is_refused(
    renderer_of_videos: VideoRenderer, job: ClaimedJob, comfyui: ComfyUISimulator
) -> None:
    put_video_template(renderer_of_videos.store)
    wanted = with_payload(job, workflow="video", num_frames=21, fps=6, duration_seconds=3.5)
    with pytest.raises(PermanentError, match=r"made 3\.\d+ s, but duration_seconds is 3\.5"):
        renderer_of_videos.render(wanted, comfyui.url)
