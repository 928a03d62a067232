"""The check of videos against their platforms: what was recorded, and what the files really are."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest

from influencerai_dagster.core.manifests.outputs import DayManifest, OutputManifest
from influencerai_dagster.core.sampling import VideoSampling
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.engines.ffmpeg.probing import VideoFacts, probe
from influencerai_dagster.engines.ffmpeg.program import run as run_ffmpeg
from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.generation.checks import every_video_fits_its_platform
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import DAY


def encoded(path: Path, size: str) -> VideoFacts:
    image = ["-f", "lavfi", "-i", f"color=size={size}:rate=30:duration=0.1"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    arguments = [*image, *encoder, "-movflags", "+faststart", str(path)]
    run_ffmpeg(arguments, "making a video")
    return probe(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each size is encoded once."""
    return tmp_path_factory.mktemp("videos")


def video_of(
    store: ObjectStore, folder: Path, number: int, size: str = "1080x1920", **changes: Any
) -> StoredFile:
    """A stored video with its output.json; the facts are recorded as they are, but for changes."""
    path, record = folder / f"{size}.mp4", folder / f"{size}.json"
    if not record.exists():
        record.write_text(encoded(path, size).model_dump_json())
    file = store.put_new(f"videos/demo/{number}/output.mp4", path)
    facts = json.loads(record.read_text()) | changes.pop("video", {})
    fields = {"preset": "instagram-reel", "aspect_ratio": "9:16", "file": file, "video": facts}
    output = video_output().model_copy(update=fields | changes)
    key = f"videos/demo/{number}/output.json"
    store.put_new(key, output.model_dump_json(warnings=False).encode())
    return file


def video_output() -> OutputManifest:
    file = StoredFile(object_key="videos/demo/0/output.mp4", sha256="0" * 64, size_bytes=1)
    return OutputManifest(
        tenant="demo",
        job_id=UUID(int=1),
        kind="video",
        file=file,
        width_px=1080,
        height_px=1920,
        sampling=VideoSampling(seed=1),
        workflow_name="svd_image_to_video",
        workflow_sha256="0" * 64,
        comfyui_url="http://127.0.0.1:8188",
        comfyui_version="0.3.64",
        prompt_id="1",
        render_seconds=1,
        is_simulated=True,
        created_at=datetime.now(UTC),
    )


def check_videos(
    resource: ObjectStore, *files: StoredFile
) -> tuple[dg.AssetCheckResult, list[str]]:
    manifest = DayManifest(tenant="demo", day=DAY, kind="videos", outputs=files)
    result = every_video_fits_its_platform(manifest, object_store=resource)
    assert isinstance(result, dg.AssetCheckResult)
    return result, values(result)["unfit"]


def values(result: dg.AssetCheckResult) -> dict[str, Any]:
    return {name: value.value for name, value in (result.metadata or {}).items() if value}


def test_videos_that_fit_pass_and_the_newest_ten_are_measured(
    object_store: ObjectStore, folder: Path
) -> None:
    first = video_of(object_store, folder, 0)
    copies = [video_of(object_store, folder, number) for number in range(1, 12)]
    result, unfit = check_videos(object_store, first, *copies)
    assert result.passed
    assert unfit == []
    assert result.description == "12 videos, 10 measured, all fit"


def test_a_video_that_does_not_fit_is_named_with_every_rule_it_does_not_keep(
    object_store: ObjectStore, folder: Path
) -> None:
    good = video_of(object_store, folder, 0)
    wide = video_of(object_store, folder, 1, "1920x1080")
    facts = {"duration_seconds": 901.0, "loudness_lufs": -23.0}
    recorded = video_of(object_store, folder, 2, video=facts)
    result, unfit = check_videos(object_store, good, wide, recorded)
    assert not result.passed
    assert unfit == [
        f"{wide.object_key}: recorded size is 1920×1080, expected 1080×1920 (instagram-reel)",
        f"{wide.object_key}: measured size is 1920×1080, expected 1080×1920",
        f"{recorded.object_key}: recorded duration is 901.000 s, expected at most 900 s "
        "(instagram-reel)",
        f"{recorded.object_key}: recorded loudness is -23.0 LUFS, expected -16 ± 1 "
        "(instagram-reel)",
    ]
    assert result.description == "3 videos, 3 measured, 4 rules not kept"


def test_a_file_that_is_no_longer_what_was_recorded_is_named(
    object_store: ObjectStore, folder: Path
) -> None:
    cut, gone, lost = (video_of(object_store, folder, number) for number in range(3))
    object_store.put_latest(cut.object_key, object_store.get(cut.object_key)[:-1])
    object_store.delete(gone.object_key)
    object_store.delete("videos/demo/2/output.json")
    result, unfit = check_videos(object_store, cut, gone, lost)
    assert not result.passed
    assert [text.split(":")[0] for text in unfit] == [
        *(cut.object_key, gone.object_key, lost.object_key)
    ]
    assert "bytes" in unfit[0]
    assert "output.json" in unfit[2]


def test_videos_of_before_presets_are_counted_and_not_checked(
    object_store: ObjectStore, folder: Path
) -> None:
    older = {"preset": None, "aspect_ratio": None}
    video = video_of(object_store, folder, 0, "64x64", **older)
    result, _ = check_videos(object_store, video)
    assert result.passed
    assert values(result)["without_preset"] == 1


def test_a_store_that_is_away_asks_for_a_retry_and_fails_no_check(
    object_store: ObjectStore,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    video = video_of(object_store, folder, 0)

    def be_away(*_: Any, **__: Any) -> None:
        raise TransientError("S3 does not answer")

    monkeypatch.setattr(ObjectStore, "download", be_away)
    with pytest.raises(dg.RetryRequested):
        check_videos(object_store, video)
