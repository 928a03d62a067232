"""Check that the videos of a day fit their platforms: the recorded facts and the files.

The rules are in core/platforms.py; generation/render/videos.py makes and verifies a video.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.core.platforms import format_for
from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.engines.ffmpeg.probing import VideoFacts, probe, unfit
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.render.render_job import load_output
from influencerai_dagster.storage.object_store import ObjectStore


@dataclass(frozen=True)
class PlatformReport:
    """The number of videos that were checked, and what does not fit.

    Attributes:
        num_measured: videos whose file was decoded now; of the others the record was read.
        num_older: videos from before presets, whose platform is unknown.
        unfit: key of the video and the rule, for every rule that one does not keep.
    """

    num_videos: int
    num_measured: int
    num_older: int
    unfit: tuple[str, ...]


@dataclass(frozen=True)
class _Video:
    file: StoredFile
    video_format: VideoFormat | None
    problems: tuple[str, ...]


def check_platforms(
    store: ObjectStore, manifest: DayManifest, *, max_measured: int
) -> PlatformReport:
    """Compare every video's recorded facts with its platform, and measure the newest files.

    Args:
        max_measured: how many files are fetched and decoded, the newest first.

    Raises:
        TransientError: S3 did not answer; the check has no result.
    """
    videos = list(store.map(lambda file: _recorded(store, file), manifest.outputs))
    newest = [output for output in videos if output.video_format is not None][::-1][:max_measured]
    with tempfile.TemporaryDirectory(prefix="videos-") as folder:
        measured = {
            output.file.object_key: _measured(store, output, Path(folder)) for output in newest
        }
    problems = [
        f"{output.file.object_key}: {problem}"
        for output in videos
        for problem in (*output.problems, *measured.get(output.file.object_key, ()))
    ]
    return PlatformReport(
        num_videos=len(videos),
        num_measured=len(measured),
        num_older=sum(output.video_format is None and not output.problems for output in videos),
        unfit=tuple(problems),
    )


def _recorded(store: ObjectStore, file: StoredFile) -> _Video:
    """Read the facts that were recorded when a video was made."""
    try:
        output = load_output(store, file)
        if output.preset is None or output.aspect_ratio is None:
            return _Video(file, None, ())
        facts = VideoFacts.model_validate(output.video)
    except PermanentError as error:
        return _Video(file, None, (str(error),))
    except ValidationError as error:
        return _Video(file, None, (f"its recorded facts are none: {error.errors()[0]['msg']}",))
    video_format = format_for(output.preset, output.aspect_ratio)
    wrong = tuple(f"recorded {problem} ({output.preset})" for problem in unfit(facts, video_format))
    return _Video(file, video_format, wrong)


def _measured(store: ObjectStore, output: _Video, folder: Path) -> list[str]:
    """Fetch and decode one file; return the rules that it does not keep."""
    path = folder / "video.mp4"
    if output.video_format is None:
        return []
    try:
        store.download(output.file.object_key, path, expected=output.file)
        return [f"measured {problem}" for problem in unfit(probe(path), output.video_format)]
    except PermanentError as error:
        return [str(error)]
    finally:
        path.unlink(missing_ok=True)
