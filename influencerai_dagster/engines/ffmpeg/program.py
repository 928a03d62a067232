"""Run ffmpeg: one process with limits of threads and time; its failures become our errors.

The program comes with imageio-ffmpeg unless a path is given.
"""

import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)
from influencerai_dagster.program_environment import program_environment

THREADS = 2
VIDEO_FORMATS = "mov,matroska"
IMAGE_FORMATS = "image2,png_pipe,jpeg_pipe,webp_pipe"
TIMEOUT_SECONDS = 600.0
MAX_FRAME_PIXELS = 40_000_000
"""A file of a few bytes may announce frames of gigabytes; 8K video has 33 million pixels."""
_LOG_BYTES = 64 * 1024
_NAMES_OF_FORMATS = {VIDEO_FORMATS: "MP4, MOV or WebM", IMAGE_FORMATS: "PNG, JPEG or WEBP"}
_OTHER_FORMAT = re.compile("Format not on whitelist '(.*)'")
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) exceeds specified max pixel count")
# Lines that ffmpeg prints after the cause.
_EMPTY_LINES = ("Conversion failed!", "Exiting normally", "Error opening output files")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of ffmpeg that ended well said.

    Attributes:
        log: its stderr.
        num_frames: frames of the first video output.
        duration_seconds: where the output ended.
    """

    log: str
    num_frames: int
    duration_seconds: float


def find_program() -> str:
    """Return the path of the ffmpeg that comes with imageio-ffmpeg.

    Raises:
        PermanentError: there is none for this machine.
    """
    import imageio_ffmpeg  # noqa: PLC0415 - only needed where no path is given

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise PermanentError(f"no ffmpeg was found: {error}; install imageio-ffmpeg") from error


def input_file(path: Path | str, formats: str = VIDEO_FORMATS) -> list[str]:
    """Return the arguments that open a file of foreign bytes, and no other file through it.

    Frames of more than `MAX_FRAME_PIXELS` are refused before their memory is taken.

    ffmpeg goes by the content of a file, not by its name: a DASH or HLS playlist, a concat script
    or an SDP named video.mp4 would make it read other files of this machine.

    Args:
        path: the file, or the pattern of numbered images.
        formats: ffmpeg's names of the containers that it may be.
    """
    # "file:" keeps a name from being read as a protocol.
    limits = ["-format_whitelist", formats, "-protocol_whitelist", "file"]
    return [*limits, "-max_pixels", str(MAX_FRAME_PIXELS), "-i", f"file:{path}"]


def run(
    arguments: Sequence[str],
    what: str,
    *,
    program: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    on_frame: Callable[[int], None] | None = None,
) -> Outcome:
    """Run ffmpeg to its end; whatever happens, no process is left.

    Args:
        arguments: what follows the global options.
        what: what is being done and with which file, for error texts.
        program: path of ffmpeg; None takes that of imageio-ffmpeg.
        timeout_seconds: the process is killed after so long.
        on_frame: called about twice a second with the number of frames written.

    Raises:
        InsufficientStorageError: the disk is full.
        TransientError: the time is over, or the process was killed from outside.
        PermanentError: ffmpeg refused; the text ends with its own last words.
    """
    options = ["-hide_banner", "-nostdin", "-y", "-nostats", "-progress", "pipe:1"]
    command = [program or find_program(), *options, *arguments]
    is_late = threading.Event()
    with tempfile.TemporaryFile() as log_file:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                command,
                env=program_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
            )
        except OSError as error:
            raise PermanentError(f"{what}: ffmpeg cannot be started: {error}") from error

        def stop() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(timeout_seconds, stop)
        with process:
            timer.start()
            try:
                num_frames, duration_seconds = _follow(process.stdout, on_frame)
                process.wait()
            finally:
                timer.cancel()
                process.kill()
        log = _tail(log_file)
    if process.returncode != 0:
        raise _failure(what, log, process.returncode, timeout_seconds if is_late.is_set() else None)
    return Outcome(log, num_frames, duration_seconds)


def _follow(progress: IO[str] | None, on_frame: Callable[[int], None] | None) -> tuple[int, float]:
    """Read ffmpeg's progress (`key=value` lines) to its end."""
    num_frames, duration_seconds = 0, 0.0
    for line in progress or ():
        key, _, value = line.strip().partition("=")
        if key == "frame":
            num_frames = int(value)
            if on_frame is not None:
                on_frame(num_frames)
        elif key == "out_time_us" and value.lstrip("-").isdigit():
            duration_seconds = int(value) / 1_000_000
    return num_frames, duration_seconds


def _tail(log_file: IO[bytes]) -> str:
    size = log_file.seek(0, 2)
    log_file.seek(max(0, size - _LOG_BYTES))
    return log_file.read().decode(errors="replace")


def _failure(
    what: str, log: str, return_code: int, passed_timeout_seconds: float | None
) -> InfluencerAIError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line for line in lines if not line.startswith(_EMPTY_LINES)] or ["(no output)"]
    if "No space left on device" in log:
        return InsufficientStorageError(f"{what}: the disk is full; free space and try again")
    other = _OTHER_FORMAT.search(log)
    if other is not None:
        named = _NAMES_OF_FORMATS.get(other[1], other[1])
        return PermanentError(
            f"{what}: its content is not {named}, whatever its name says. Let the workflow "
            "save one."
        )
    large = _TOO_LARGE.search(log)
    if large is not None:
        return PermanentError(
            f"{what}: its frames have {large[1]}×{large[2]} pixels, and at most "
            f"{MAX_FRAME_PIXELS} are decoded. Let the workflow save smaller ones."
        )
    if passed_timeout_seconds is not None:
        return TransientError(f"{what}: ffmpeg was stopped after {passed_timeout_seconds:g} s")
    if return_code < 0:
        return TransientError(f"{what}: ffmpeg was killed by signal {-return_code}")
    return PermanentError(f"{what}: ffmpeg ended with {return_code}: {causes[-1]}")
