"""Frames and videos become MP4 files that pass the platform's checks; faults leave nothing."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw

from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.engines.ffmpeg.encoding import (
    Fit,
    Interpolation,
    frames_to_mp4,
    poster_frame,
    video_to_mp4,
)
from influencerai_dagster.engines.ffmpeg.probing import measure, verify
from influencerai_dagster.engines.ffmpeg.program import run
from influencerai_dagster.errors import PermanentError

TALL = VideoFormat(width_px=216, height_px=384, fps=30)
SQUARE = VideoFormat(width_px=216, height_px=216, fps=30)
SMALL = VideoFormat(width_px=64, height_px=64, fps=30)
WIDE = VideoFormat(width_px=384, height_px=216, fps=30)
NUM_FRAMES = 9
INPUT_FPS = 6


def frame(number: int, image_format: str = "PNG", size: tuple[int, int] = (144, 256)) -> bytes:
    """A red frame with a ball that moves."""
    image = Image.new("RGB", size, (200, 30, 30))
    left = 8 * number
    ImageDraw.Draw(image).ellipse((left, 20, left + 60, 80), fill=(20, 200, 60))
    output = io.BytesIO()
    image.save(output, image_format)
    return output.getvalue()


def frames(image_format: str = "PNG") -> Iterator[bytes]:
    return (frame(number, image_format) for number in range(NUM_FRAMES))


def make(output: Path, video_format: VideoFormat = TALL, fit: Fit = "blur") -> None:
    frames_to_mp4(
        frames(),
        input_fps=INPUT_FPS,
        video_format=video_format,
        output=output,
        fit=fit,
        interpolation="duplicate",
    )


def colour_at(path: Path, x: float, y: float) -> tuple[int, ...]:
    with Image.open(path) as image:
        found = image.convert("RGB").getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(found, tuple)
    return found


def is_red(colour: tuple[int, ...]) -> bool:
    return colour[0] > 150 and colour[1] < 90 and colour[2] < 90


@pytest.mark.parametrize("interpolation", ["motion", "blend", "duplicate"])
@pytest.mark.parametrize("video_format", [TALL, SQUARE, WIDE], ids=["9:16", "1:1", "16:9"])
def test_frames_become_a_video_of_exact_size_rate_and_duration(
    tmp_path: Path, video_format: VideoFormat, interpolation: Interpolation
) -> None:
    output = tmp_path / "output.mp4"
    frames_to_mp4(
        frames(),
        input_fps=INPUT_FPS,
        video_format=video_format,
        output=output,
        interpolation=interpolation,
    )
    facts = verify(output, video_format, NUM_FRAMES / INPUT_FPS)
    assert facts.num_frames == NUM_FRAMES * 30 // INPUT_FPS
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_frames_may_be_files_with_any_names(tmp_path: Path, image_format: str) -> None:
    paths = [tmp_path / f"-{number} 100% of ünsafe.{image_format}" for number in range(NUM_FRAMES)]
    for path, data in zip(paths, frames(image_format), strict=True):
        path.write_bytes(data)
    output = tmp_path / "output 100%d.mp4"
    frames_to_mp4(paths, input_fps=INPUT_FPS, video_format=TALL, output=output)
    verify(output, TALL, NUM_FRAMES / INPUT_FPS)


def test_one_frame_makes_a_video_too(tmp_path: Path) -> None:
    output = tmp_path / "output.mp4"
    frames_to_mp4([frame(0)], input_fps=1, video_format=TALL, output=output)
    assert verify(output, TALL, 1).num_frames == 30


@pytest.mark.parametrize(
    ("fit", "is_ball_whole"), [("blur", True), ("crop", False)], ids=["blur", "crop"]
)
def test_blur_keeps_the_whole_frame_and_crop_fills_the_size(
    tmp_path: Path, fit: Fit, *, is_ball_whole: bool
) -> None:
    make(tmp_path / "output.mp4", WIDE, fit)
    poster_frame(tmp_path / "output.mp4", tmp_path / "poster.png")
    with Image.open(tmp_path / "poster.png") as poster:
        assert poster.size == (384, 216)
    top = colour_at(tmp_path / "poster.png", 0.43, 0.2)
    assert (not is_red(top)) == is_ball_whole
    assert is_red(colour_at(tmp_path / "poster.png", 0.97, 0.97)), "the sides are not filled"


def test_colours_survive_the_way_to_yuv(tmp_path: Path) -> None:
    make(tmp_path / "output.mp4")
    poster_frame(tmp_path / "output.mp4", tmp_path / "poster.png")
    found = colour_at(tmp_path / "poster.png", 0.9, 0.9)
    assert all(abs(one - other) < 12 for one, other in zip(found, (200, 30, 30), strict=True))


def test_the_same_frames_make_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "one.mp4")
    make(tmp_path / "two.mp4")
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_progress_grows_to_one(tmp_path: Path) -> None:
    shares: list[float] = []
    frames_to_mp4(
        frames(),
        input_fps=INPUT_FPS,
        video_format=TALL,
        output=tmp_path / "output.mp4",
        on_progress=shares.append,
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1


def no_frames(folder: Path) -> list[Path | bytes]:  # noqa: ARG001 - one shape for all
    return []


def mixed_formats(folder: Path) -> list[Path | bytes]:  # noqa: ARG001 - as above
    return [frame(0), frame(1, "JPEG")]


def no_image(folder: Path) -> list[Path | bytes]:
    path = folder / "x.png"
    path.write_text("this is text")
    return [path]


def absent_file(folder: Path) -> list[Path | bytes]:
    return [folder / "absent.png"]


def first_frame_cut(folder: Path) -> list[Path | bytes]:  # noqa: ARG001 - as above
    return [frame(0)[:300], frame(1), frame(2)]


def third_frame_cut(folder: Path) -> list[Path | bytes]:  # noqa: ARG001 - as above
    return [frame(0), frame(1), frame(2)[:300], frame(3), frame(4)]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (no_frames, "there are no frames"),
        (mixed_formats, r"frame 1 is a \.jpg among \.png"),
        (no_image, r"x\.png starts with b'this'"),
        (absent_file, r"absent\.png cannot be read"),
        (first_frame_cut, r"000000\.png.*ffmpeg ended with"),
        (third_frame_cut, r"output\.mp4.*ffmpeg ended with"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_frames_that_cannot_be_used_are_named_and_leave_no_file(
    tmp_path: Path, given: Callable[[Path], list[Path | bytes]], text: str
) -> None:
    folder = tmp_path / "outputs"
    folder.mkdir()
    with pytest.raises(PermanentError, match=text):
        frames_to_mp4(given(tmp_path), input_fps=6, video_format=TALL, output=folder / "output.mp4")
    assert list(folder.iterdir()) == []


def test_a_stopped_encoding_leaves_neither_process_nor_file(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(share: float) -> None:
        raise StoppedError(share)

    with pytest.raises(StoppedError):
        frames_to_mp4(
            frames(),
            input_fps=INPUT_FPS,
            video_format=TALL,
            output=tmp_path / "output.mp4",
            on_progress=stop,
        )
    assert list(tmp_path.iterdir()) == []
    children = psutil.Process().children()
    assert [child.name() for child in children if "ffmpeg" in child.name()] == []


@pytest.fixture
def loud_video(tmp_path: Path) -> Path:
    """2 s of video and a loud tone, in another container, size and rate."""
    path = tmp_path / "video.mkv"
    source = ["-f", "lavfi", "-i", "testsrc=size=320x180:rate=25:duration=2"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2", "-af", "volume=20dB"]
    run([*source, *tone, "-c:v", "mpeg4", "-c:a", "flac", str(path)], "making a video")
    return path


@pytest.mark.parametrize("fps", [12, 25, 30])
def test_a_video_becomes_an_mp4_of_the_same_length(
    tmp_path: Path, loud_video: Path, fps: int
) -> None:
    video_format = VideoFormat(width_px=216, height_px=384, fps=fps)
    video_to_mp4(loud_video, video_format=video_format, output=tmp_path / "output.mp4")
    verify(tmp_path / "output.mp4", video_format, 2)


SOUNDS = {
    "loud tone": "sine=frequency=440:duration=2,volume=20dB",
    "faint tone": "sine=frequency=440:duration=2,volume=-30dB",
    "mono noise": "anoisesrc=duration=2:amplitude=0.9:seed=1",
    "clicks": "aevalsrc='if(lt(mod(t,0.5),0.01),0.9*sin(6000*t),0.005*sin(900*t))':d=2",
    "half a second": "sine=frequency=440:duration=0.5",
}


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
def test_the_sound_of_a_video_is_made_as_loud_as_platforms_want_it(
    tmp_path: Path, sound: str
) -> None:
    video, output = tmp_path / "video.mkv", tmp_path / "output.mp4"
    frames = ["-f", "lavfi", "-i", "color=size=64x64:rate=30:duration=2"]
    run([*frames, "-f", "lavfi", "-i", sound, "-c:a", "flac", str(video)], "making a video")
    video_to_mp4(video, video_format=SMALL, output=output)
    facts = verify(output, SMALL, 2)
    assert facts.loudness_lufs == pytest.approx(-16, abs=1)


def test_a_silent_sound_stays_silent(tmp_path: Path) -> None:
    video, output = tmp_path / "video.mkv", tmp_path / "output.mp4"
    frames = ["-f", "lavfi", "-i", "color=size=64x64:rate=30:duration=1"]
    silence = ["-f", "lavfi", "-i", "anullsrc=duration=1", "-c:a", "flac"]
    run([*frames, *silence, str(video)], "making a video")
    video_to_mp4(video, video_format=SMALL, output=output)
    assert verify(output, SMALL, 1).loudness_lufs is None
    assert measure(output).has_audio


def test_a_video_is_cut_to_the_wanted_length_with_its_sound(
    tmp_path: Path, loud_video: Path
) -> None:
    output = tmp_path / "output.mp4"
    video_to_mp4(loud_video, video_format=SMALL, output=output, seconds=1.2)
    verify(output, SMALL, 1.2)
    log = run(["-i", str(output), "-map", "0:a", "-f", "null", "-"], "measuring sound")
    assert log.duration_seconds == pytest.approx(1.2, abs=0.03)


def test_a_video_without_sound_stays_silent(tmp_path: Path) -> None:
    make(tmp_path / "silent.mp4")
    video_to_mp4(tmp_path / "silent.mp4", video_format=SQUARE, output=tmp_path / "output.mp4")
    verify(tmp_path / "output.mp4", SQUARE, NUM_FRAMES / INPUT_FPS)


def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("this is text")
    with pytest.raises(PermanentError, match=r"notes\.mp4.*Invalid data"):
        video_to_mp4(path, video_format=TALL, output=tmp_path / "output.mp4")
    with pytest.raises(PermanentError, match=r"notes\.mp4.*Invalid data"):
        poster_frame(path, tmp_path / "poster.png")
