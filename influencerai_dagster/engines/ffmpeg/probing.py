"""Measure video files and verify that one fits its platform.

imageio-ffmpeg brings no ffprobe, so the facts come from decoding the whole file with ffmpeg, which
also shows that it plays. Box layout follows ISO/IEC 14496-12 (moov before mdat is "faststart").
"""

import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.platforms import LOUDNESS_LUFS, LOUDNESS_TOLERANCE_LU
from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.engines.ffmpeg.loudness import has_audio, measure_loudness
from influencerai_dagster.engines.ffmpeg.program import VIDEO_FORMATS, input_file, run
from influencerai_dagster.errors import PermanentError

_STREAM = re.compile(
    r"Stream #0:\d+[^:]*: Video: (?P<codec>\w+)(?: \([^)]*\))*, "
    r"(?P<pixel_format>\w+)(?:\([^)]*\))?, (?P<width>\d+)x(?P<height>\d+)"
    r"(?:.*?, (?P<fps>[\d.]+)(?P<thousand>k?) fps)?"
)
_FPS_TOLERANCE = 0.01
_LENGTH_TOLERANCE_SECONDS = 0.001
_LOOKED_AT_SIDE_PX = 32
_ROUNDING = 2
"""So much may the colours of a black video differ after it was compressed."""


class VideoFacts(Value):
    """What a video file was measured to be.

    Attributes:
        codec: ffmpeg's name, "h264".
        pixel_format: ffmpeg's name, "yuv420p".
        fps: mean frames a second.
        has_faststart: the index comes first, so that a player can start before it has the end.
        num_frames: frames that were decoded.
        loudness_lufs: integrated loudness of the audio; None if there is none, if it is silent
            or too short to measure.
    """

    codec: str
    pixel_format: str
    width_px: int
    height_px: int
    fps: float
    duration_seconds: float
    has_faststart: bool
    num_frames: int
    loudness_lufs: float | None = None


@dataclass(frozen=True)
class Measured:
    """The facts of a file's video stream, and whether it has audio, not measured yet."""

    facts: VideoFacts
    has_audio: bool


def probe(path: Path, formats: str = VIDEO_FORMATS, *, program: str | None = None) -> VideoFacts:
    """Decode the video and audio streams of a file to their end, and measure them.

    Args:
        path: the file.
        formats: ffmpeg's names of the containers that it may be.
        program: path of ffmpeg; None takes that of imageio-ffmpeg.

    Raises:
        PermanentError: no such file, another format, no video in it, or it does not decode to its
            end.
    """
    found = measure(path, formats, program=program)
    if not found.has_audio:
        return found.facts
    loudness = measure_loudness(path, program=program)
    return found.facts.model_copy(update={"loudness_lufs": loudness})


def measure(path: Path, formats: str = VIDEO_FORMATS, *, program: str | None = None) -> Measured:
    """Decode the first video stream of a file, every frame of it; errors are those of `probe`."""
    source = ["-xerror", "-err_detect", "explode", *input_file(path, formats), "-map", "0:v:0"]
    outcome = run([*source, "-f", "null", "-"], f"probe of {path.name}", program=program)
    found = _STREAM.search(outcome.log)
    if found is None or outcome.num_frames == 0:
        raise PermanentError(f"{path.name} has no video stream that can be decoded")
    fps = float(found["fps"] or 0) * (1000 if found["thousand"] else 1)
    facts = VideoFacts(
        codec=found["codec"],
        pixel_format=found["pixel_format"],
        width_px=int(found["width"]),
        height_px=int(found["height"]),
        fps=fps,
        duration_seconds=outcome.duration_seconds,
        has_faststart=has_faststart(path),
        num_frames=outcome.num_frames,
    )
    return Measured(facts, has_audio(outcome.log))


def is_one_colour(path: Path, *, program: str | None = None) -> bool:
    """Whether no frame of a video shows anything; two frames a second are checked."""
    with tempfile.TemporaryDirectory(prefix="pixels-") as folder:
        pixels = Path(folder) / "pixels.rgb"
        side = f"{_LOOKED_AT_SIDE_PX}:{_LOOKED_AT_SIDE_PX}"
        arguments = [*input_file(path), "-map", "0:v:0", "-vf", f"fps=2,scale={side}"]
        arguments += ["-pix_fmt", "rgb24", "-f", "rawvideo", f"file:{pixels}"]
        run(arguments, f"colours of {path.name}", program=program)
        with pixels.open("rb") as file:
            size = 3 * _LOOKED_AT_SIDE_PX**2
            return all(_is_flat(frame) for frame in iter(lambda: file.read(size), b""))


def _is_flat(frame: bytes) -> bool:
    channels = (frame[start::3] for start in range(3))
    return all(max(channel) - min(channel) <= _ROUNDING for channel in channels)


def verify(
    path: Path,
    video_format: VideoFormat,
    expected_duration_seconds: float,
    *,
    program: str | None = None,
) -> VideoFacts:
    """Return the facts of a video that is exactly what was asked for.

    The duration may differ by one frame, and by a hundredth of a second of rounding.

    Raises:
        PermanentError: it is not; the text lists every difference.
    """
    facts = probe(path, program=program)
    wrong = unfit(facts, video_format)
    tolerance_seconds = 1 / video_format.fps + 0.01
    if abs(facts.duration_seconds - expected_duration_seconds) > tolerance_seconds:
        found, expected = facts.duration_seconds, expected_duration_seconds
        wrong.append(f"duration is {found:.3f} s, expected {expected:.3f} s")
    if wrong:
        raise PermanentError(f"{path.name} is not the video that was asked for: {'; '.join(wrong)}")
    return facts


def unfit(facts: VideoFacts, video_format: VideoFormat) -> list[str]:
    """Return every rule of a platform that a video does not keep; none if it fits."""
    size = f"{video_format.width_px}×{video_format.height_px}"
    longest = video_format.max_duration_seconds
    loudness = LOUDNESS_LUFS if facts.loudness_lufs is None else facts.loudness_lufs
    checks = [
        ("codec", facts.codec, "h264", facts.codec == "h264"),
        ("pixel format", facts.pixel_format, "yuv420p", facts.pixel_format == "yuv420p"),
        (
            "size",
            f"{facts.width_px}×{facts.height_px}",
            size,
            (facts.width_px, facts.height_px) == (video_format.width_px, video_format.height_px),
        ),
        (
            "fps",
            f"{facts.fps:g}",
            f"{video_format.fps}",
            abs(facts.fps - video_format.fps) < _FPS_TOLERANCE,
        ),
        (
            "duration",
            f"{facts.duration_seconds:.3f} s",
            f"at most {longest} s",
            longest is None or facts.duration_seconds <= longest + _LENGTH_TOLERANCE_SECONDS,
        ),
        (
            "loudness",
            f"{loudness:.1f} LUFS",
            f"{LOUDNESS_LUFS:g} ± {LOUDNESS_TOLERANCE_LU:g}",
            abs(loudness - LOUDNESS_LUFS) <= LOUDNESS_TOLERANCE_LU,
        ),
        ("faststart", "no", "yes", facts.has_faststart),
    ]
    return [
        f"{name} is {found}, expected {expected}" for name, found, expected, ok in checks if not ok
    ]


def has_faststart(path: Path) -> bool:
    """Whether an MP4's index (moov) comes before its media data (mdat)."""
    with path.open("rb") as file:
        end = path.stat().st_size
        position = 0
        while position + 8 <= end:
            file.seek(position)
            size_bytes, kind = struct.unpack(">I4s", file.read(8))
            if kind in {b"moov", b"mdat"}:
                return bool(kind == b"moov")
            if size_bytes == 1:  # the size follows as 64 bits
                size_bytes = int.from_bytes(file.read(8), "big")
            if size_bytes < 8:  # noqa: PLR2004 - a box holds at least its own header; 0 is "to the end"
                return False
            position += size_bytes
    return False
