"""Encode MP4 files for the platforms: H.264, yuv420p, exact size and frame rate, index first.

Follows ffmpeg's filter documentation (minterpolate, tpad, overlay). loudness.py encodes
audio, subtitles.py draws text, probing.py verifies the result.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.core.subtitles import Cue
from influencerai_dagster.engines.ffmpeg.frames import number_frames
from influencerai_dagster.engines.ffmpeg.loudness import normalise_audio
from influencerai_dagster.engines.ffmpeg.probing import VideoFacts, measure, probe
from influencerai_dagster.engines.ffmpeg.program import (
    IMAGE_FORMATS,
    THREADS,
    TIMEOUT_SECONDS,
    input_file,
    run,
)
from influencerai_dagster.engines.ffmpeg.subtitles import subtitles_filter

Fit = Literal["blur", "crop"]
Interpolation = Literal["motion", "blend", "duplicate"]
OnProgress = Callable[[float], None]

# Aspect ratios that differ by less are made to fit by a crop that nobody sees.
_ASPECT_TOLERANCE = 0.02
_INTERPOLATIONS = {"motion": "mci", "blend": "blend"}


def frames_to_mp4(
    frames: Iterable[Path | bytes],
    *,
    input_fps: float,
    video_format: VideoFormat,
    output: Path,
    seconds: float | None = None,
    cues: Sequence[Cue] = (),
    fit: Fit = "blur",
    interpolation: Interpolation = "blend",
    on_progress: OnProgress | None = None,
    program: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Make an MP4 of still frames; they are read one by one.

    Args:
        frames: PNG, JPEG or WEBP, all of one format, as files or bytes, in order.
        input_fps: how many of them make a second.
        video_format: size and frame rate of the MP4.
        output: the file to write; it appears when it is complete.
        seconds: length of the MP4, at most that of the frames; None for their number ÷ input_fps.
        cues: subtitles that are burned into the frames.
        fit: where the aspect ratio differs, "blur" shows the whole frame over a blurred copy of it,
            "crop" fills the size and cuts what is outside.
        interpolation: how missing frames are made. "motion" follows what moves and takes four times
            as long as the rest, "blend" fades, "duplicate" repeats.
        on_progress: called with the share done, 0 to 1.
        program: path of ffmpeg; None takes that of imageio-ffmpeg.
        timeout_seconds: ffmpeg is stopped after so long.

    Raises:
        InsufficientStorageError: the disk is full.
        TransientError: the time is over, or ffmpeg was killed.
        PermanentError: no frames, mixed formats, or a frame that does not decode.
    """
    with tempfile.TemporaryDirectory(prefix="frames-") as folder:
        num_frames, suffix = number_frames(frames, Path(folder))
        first = probe(Path(folder) / f"{0:06}{suffix}", IMAGE_FORMATS, program=program)
        pattern = f"{folder.replace('%', '%%')}/%06d{suffix}"
        _encode(
            ["-framerate", f"{input_fps:g}", *input_file(pattern, IMAGE_FORMATS)],
            first,
            seconds=num_frames / input_fps if seconds is None else seconds,
            video_format=video_format,
            output=output,
            cues=cues,
            fit=fit,
            interpolation="duplicate" if input_fps == video_format.fps else interpolation,
            on_progress=on_progress,
            program=program,
            timeout_seconds=timeout_seconds,
        )


def video_to_mp4(
    video: Path,
    *,
    video_format: VideoFormat,
    output: Path,
    seconds: float | None = None,
    cues: Sequence[Cue] = (),
    fit: Fit = "blur",
    interpolation: Interpolation = "blend",
    on_progress: OnProgress | None = None,
    program: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Make an MP4 of an MP4, MOV or WebM video; its audio gets −16 LUFS.

    Arguments and errors are those of `frames_to_mp4`; without `seconds` the MP4 is as long as the
    video.
    """
    found = measure(video, program=program)
    length = found.facts.duration_seconds if seconds is None else seconds
    with tempfile.TemporaryDirectory(prefix="audio-") as folder:
        source = input_file(video)
        if found.has_audio:
            audio = Path(folder) / "audio.m4a"
            normalise_audio(video, audio, seconds=length, program=program)
            source += [*input_file(audio), "-map", "1:a:0"]
        _encode(
            source,
            found.facts,
            seconds=length,
            video_format=video_format,
            output=output,
            cues=cues,
            fit=fit,
            interpolation="duplicate" if found.facts.fps >= video_format.fps else interpolation,
            on_progress=on_progress,
            program=program,
            timeout_seconds=timeout_seconds,
        )


def poster_frame(path: Path, output: Path, *, program: str | None = None) -> None:
    """Write the first frame of a video as an image; the ending of `output` names its format."""
    arguments = ["-loglevel", "error", "-xerror", *input_file(path)]
    arguments += ["-map", "0:v:0", "-frames:v", "1", "-update", "1", f"file:{output}"]
    run(arguments, f"poster frame of {path.name}", program=program)


def _encode(
    source: Sequence[str],
    facts: VideoFacts,
    *,
    seconds: float,
    video_format: VideoFormat,
    output: Path,
    cues: Sequence[Cue],
    fit: Fit,
    interpolation: Interpolation,
    on_progress: OnProgress | None,
    program: str | None,
    timeout_seconds: float,
) -> None:
    num_frames = max(1, round(seconds * video_format.fps))
    part = output.with_name(f".{output.name}.part")
    with tempfile.TemporaryDirectory(prefix="subtitles-") as folder:
        texts = [subtitles_filter(cues, video_format, Path(folder))] if cues else []
        graph = _filter_graph(facts, video_format, fit, interpolation, texts)
        arguments = ["-loglevel", "error", "-xerror", "-filter_threads", str(THREADS), *source]
        arguments += ["-filter_complex", graph, "-map", "[video]", "-frames:v", str(num_frames)]
        arguments += ["-map_metadata", "-1", "-threads", str(THREADS)]
        arguments += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-maxrate", "12M"]
        arguments += ["-bufsize", "24M", "-g", str(2 * video_format.fps), "-pix_fmt", "yuv420p"]
        arguments += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
        arguments += ["-c:a", "copy", "-movflags", "+faststart", "-f", "mp4"]
        try:
            run(
                [*arguments, f"file:{part}"],
                f"encoding of {output.name}",
                program=program,
                timeout_seconds=timeout_seconds,
                on_frame=_share_of(num_frames, on_progress),
            )
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)


def _share_of(num_frames: int, on_progress: OnProgress | None) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    return lambda frame: on_progress(min(1.0, frame / num_frames))


def _filter_graph(
    facts: VideoFacts,
    video_format: VideoFormat,
    fit: Fit,
    interpolation: Interpolation,
    texts: Sequence[str],
) -> str:
    """Return the graph from input 0 to [video]; `texts` are drawn on the finished size and rate."""
    width_px, height_px, fps = video_format.width_px, video_format.height_px, video_format.fps
    # Interpolation needs frames after the last one, or the video would end early; -frames:v cuts.
    held = "tpad=stop_mode=clone:stop=3"
    fill = f"scale={width_px}:{height_px}:force_original_aspect_ratio=increase"
    fitted = f"{fill},crop={width_px}:{height_px}"
    aspect, wanted = facts.width_px / facts.height_px, width_px / height_px
    if fit == "blur" and abs(aspect / wanted - 1) > _ASPECT_TOLERANCE:
        small = f"{max(2, width_px // 8)}:{max(2, height_px // 8)}"
        fitted = (
            f"split[front][back];[back]scale={small}:force_original_aspect_ratio=increase,"
            f"crop={small},gblur=sigma=4,scale={width_px}:{height_px}[blurred];"
            f"[front]scale={width_px}:{height_px}:force_original_aspect_ratio=decrease[whole];"
            "[blurred][whole]overlay=(W-w)/2:(H-h)/2"
        )
    steps = [held, fitted, f"fps={fps}"]
    if interpolation != "duplicate":
        made = f"minterpolate=fps={fps}:mi_mode={_INTERPOLATIONS[interpolation]}"
        steps = [held, made, fitted]
    finish = ["setsar=1", "scale=out_color_matrix=bt709:out_range=tv", "format=yuv420p[video]"]
    return f"[0:v:0]{','.join([*steps, *texts, *finish])}"
