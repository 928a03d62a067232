"""Makes platform-ready MP4 files: H.264, yuv420p, exact size and frame rate, index first.

Follows ffmpeg's filter documentation (minterpolate, tpad, overlay, loudnorm). What the result must
be is checked in probing.py.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from influencerai_dagster.domain.sampling import VideoFormat
from influencerai_dagster.engines.ffmpeg.probing import VideoFacts, probe
from influencerai_dagster.engines.ffmpeg.program import THREADS, TIMEOUT_SECONDS, run
from influencerai_dagster.errors import InsufficientStorageError, PermanentError

Fit = Literal["blur", "crop"]
Interpolation = Literal["motion", "blend", "duplicate"]
OnProgress = Callable[[float], None]

# Aspect ratios that differ by less are made to fit by a crop that nobody sees.
_ASPECT_TOLERANCE = 0.02
_SUFFIX_BY_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}
_INTERPOLATIONS = {"motion": "mci", "blend": "blend"}


def frames_to_mp4(
    frames: Iterable[Path | bytes],
    *,
    input_fps: float,
    video_format: VideoFormat,
    output: Path,
    fit: Fit = "blur",
    interpolation: Interpolation = "blend",
    on_progress: OnProgress | None = None,
    program: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Make an MP4 of still frames; its duration is their number ÷ input_fps.

    Args:
        frames: PNG, JPEG or WEBP, all of one format, as files or bytes, in order.
        input_fps: how many of them make a second.
        video_format: size and frame rate of the MP4.
        output: the file to write; it appears when it is whole.
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
        num_frames, suffix = _number_frames(frames, Path(folder))
        first = probe(Path(folder) / f"{0:06}{suffix}", program=program)
        _encode(
            ["-framerate", f"{input_fps:g}", "-i", f"file:{folder}/%06d{suffix}"],
            first,
            seconds=num_frames / input_fps,
            video_format=video_format,
            output=output,
            fit=fit,
            interpolation="duplicate" if input_fps == video_format.fps else interpolation,
            on_progress=on_progress,
            program=program,
            timeout_seconds=timeout_seconds,
        )


def clip_to_mp4(
    clip: Path,
    *,
    video_format: VideoFormat,
    output: Path,
    fit: Fit = "blur",
    interpolation: Interpolation = "blend",
    on_progress: OnProgress | None = None,
    program: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Make an MP4 of any clip that ffmpeg reads, as long as the clip; sound comes at −16 LUFS.

    Arguments and errors are those of `frames_to_mp4`.
    """
    facts = probe(clip, program=program)
    _encode(
        ["-i", f"file:{clip}"],
        facts,
        seconds=facts.duration_seconds,
        video_format=video_format,
        output=output,
        fit=fit,
        interpolation="duplicate" if facts.fps >= video_format.fps else interpolation,
        on_progress=on_progress,
        program=program,
        timeout_seconds=timeout_seconds,
    )


def poster_frame(path: Path, output: Path, *, program: str | None = None) -> None:
    """Write the first frame of a video as an image; the ending of `output` names its format."""
    arguments = ["-loglevel", "error", "-xerror", "-i", f"file:{path}"]
    arguments += ["-map", "0:v:0", "-frames:v", "1", "-update", "1", f"file:{output}"]
    run(arguments, f"poster frame of {path.name}", program=program)


def _encode(
    source: Sequence[str],
    facts: VideoFacts,
    *,
    seconds: float,
    video_format: VideoFormat,
    output: Path,
    fit: Fit,
    interpolation: Interpolation,
    on_progress: OnProgress | None,
    program: str | None,
    timeout_seconds: float,
) -> None:
    num_frames = max(1, round(seconds * video_format.fps))
    graph = _filter_graph(facts, video_format, fit, interpolation)
    part = output.with_name(f".{output.name}.part")
    arguments = ["-loglevel", "error", "-xerror", "-filter_threads", str(THREADS), *source]
    arguments += ["-filter_complex", graph, "-map", "[video]", "-map", "0:a:0?"]
    arguments += ["-frames:v", str(num_frames), "-map_metadata", "-1", "-threads", str(THREADS)]
    arguments += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-maxrate", "12M"]
    arguments += ["-bufsize", "24M", "-g", str(2 * video_format.fps), "-pix_fmt", "yuv420p"]
    arguments += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    arguments += ["-af", "loudnorm=I=-16:TP=-1.5:LRA=11", "-ar", "48000", "-c:a", "aac"]
    arguments += ["-movflags", "+faststart", "-f", "mp4", f"file:{part}"]
    try:
        run(
            arguments,
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
    facts: VideoFacts, video_format: VideoFormat, fit: Fit, interpolation: Interpolation
) -> str:
    """Return the graph from input 0 to [video]."""
    width_px, height_px, fps = video_format.width_px, video_format.height_px, video_format.fps
    # Interpolation needs frames after the last one, or the clip would end early; -frames:v cuts.
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
    finish = "setsar=1,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p[video]"
    if interpolation == "duplicate":
        return f"[0:v:0]{held},{fitted},fps={fps},{finish}"
    made = f"minterpolate=fps={fps}:mi_mode={_INTERPOLATIONS[interpolation]}"
    return f"[0:v:0]{held},{made},{fitted},{finish}"


def _number_frames(frames: Iterable[Path | bytes], folder: Path) -> tuple[int, str]:
    """Lay the frames out as 000000.png, 000001.png …: what ffmpeg reads as a sequence."""
    suffix = None
    num_frames = 0
    for frame in frames:
        name = frame.name if isinstance(frame, Path) else f"frame {num_frames}"
        found = _suffix(frame, name)
        if suffix not in {None, found}:
            raise PermanentError(f"{name} is a {found} among {suffix} frames; use one format")
        suffix = found
        place = folder / f"{num_frames:06}{suffix}"
        try:
            if isinstance(frame, Path):
                place.symlink_to(frame.resolve())
            else:
                place.write_bytes(frame)
        except OSError as error:
            raise InsufficientStorageError(
                f"{name} cannot be laid out in {folder}: {error}; free space for temporary files"
            ) from error
        num_frames += 1
    if suffix is None:
        raise PermanentError("there are no frames to make a video of; look at the render's outputs")
    return num_frames, suffix


def _suffix(frame: Path | bytes, name: str) -> str:
    try:
        head = _head(frame)
    except OSError as error:
        raise PermanentError(f"{name} cannot be read: {error}") from error
    for magic, suffix in _SUFFIX_BY_MAGIC.items():
        if head.startswith(magic):
            return suffix
    raise PermanentError(f"{name} starts with {head!r}: frames are PNG, JPEG or WEBP")


def _head(frame: Path | bytes) -> bytes:
    if isinstance(frame, bytes):
        return frame[:4]
    with frame.open("rb") as file:
        return file.read(4)
