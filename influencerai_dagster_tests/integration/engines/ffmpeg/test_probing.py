"""A video's facts are measured, and every difference from what was asked for is listed."""

from pathlib import Path

import pytest

from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.engines.ffmpeg.probing import is_one_colour, probe, verify
from influencerai_dagster.engines.ffmpeg.program import run
from influencerai_dagster.errors import PermanentError

FORMAT = VideoFormat(width_px=128, height_px=96, fps=30)


def made(path: Path, *options: str, rate: str = "30", size: str = "128x96") -> Path:
    source = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}:duration=1"]
    run([*source, *options, str(path)], "making a video")
    return path


GOOD = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart")


def test_a_good_video_passes_with_its_facts(tmp_path: Path) -> None:
    facts = verify(made(tmp_path / "x.mp4", *GOOD), FORMAT, 1)
    assert facts.model_dump() == {
        "codec": "h264",
        "pixel_format": "yuv420p",
        "width_px": 128,
        "height_px": 96,
        "fps": 30.0,
        "duration_seconds": 1.0,
        "has_faststart": True,
        "num_frames": 30,
        "loudness_lufs": None,
    }


def test_a_video_longer_than_its_platform_takes_does_not_pass(tmp_path: Path) -> None:
    path = made(tmp_path / "x.mp4", *GOOD)
    verify(path, FORMAT.model_copy(update={"max_duration_seconds": 1.0}), 1)
    with pytest.raises(PermanentError, match=r"duration is 1\.000 s, expected at most 0\.9 s"):
        verify(path, FORMAT.model_copy(update={"max_duration_seconds": 0.9}), 1)


@pytest.mark.parametrize(
    ("volume", "loudness"), [("0dB", -21.8), ("6dB", -15.8), ("-90dB", None)], ids=str
)
def test_a_sound_is_measured_and_must_be_as_loud_as_platforms_want_it(
    tmp_path: Path, volume: str, loudness: float | None
) -> None:
    tone = ["-f", "lavfi", "-i", "sine=duration=1", "-af", f"volume={volume},aresample=48000"]
    path = made(tmp_path / "x.mp4", *tone, *GOOD, "-c:a", "aac", "-shortest")
    found = probe(path).loudness_lufs
    assert found == (None if loudness is None else pytest.approx(loudness, abs=1))
    if volume != "0dB":
        verify(path, FORMAT, 1)
        return
    with pytest.raises(PermanentError, match=r"loudness is -2\d\.\d LUFS, expected -16 ± 1"):
        verify(path, FORMAT, 1)


def test_every_difference_is_listed(tmp_path: Path) -> None:
    path = made(tmp_path / "x.mp4", "-c:v", "mpeg4", rate="25", size="160x96")
    with pytest.raises(PermanentError) as caught:
        verify(path, FORMAT, 2)
    text = str(caught.value)
    for difference in (
        "x.mp4",
        "codec is mpeg4, expected h264",
        "size is 160×96, expected 128×96",
        "fps is 25, expected 30",
        "duration is 1.000 s, expected 2.000 s",
        "faststart is no, expected yes",
    ):
        assert difference in text
    assert "pixel format" not in text


@pytest.mark.parametrize(
    ("options", "rate", "difference"),
    [
        (("-c:v", "libx264", "-pix_fmt", "yuv444p"), "30", "pixel format is yuv444p"),
        (GOOD, "30000/1001", "fps is 29.97"),
        (GOOD[:4], "30", "faststart is no"),
    ],
    ids=["pixel format", "broken rate", "index at the end"],
)
def test_a_single_difference_is_found(
    tmp_path: Path, options: tuple[str, ...], rate: str, difference: str
) -> None:
    path = made(tmp_path / "x.mp4", "-movflags", "+faststart", *options, rate=rate)
    if "faststart" in difference:
        path = made(tmp_path / "y.mp4", *options)
    with pytest.raises(PermanentError, match=difference):
        verify(path, FORMAT, 1)


@pytest.mark.parametrize("share", [0.1, 0.6], ids=["in the index", "in the images"])
def test_a_truncated_video_does_not_pass(tmp_path: Path, share: float) -> None:
    path = made(tmp_path / "x.mp4", *GOOD)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PermanentError, match=r"x\.mp4"):
        verify(path, FORMAT, 1)


@pytest.mark.parametrize("suffix", ["webm", "mkv"])
def test_other_containers_are_measured_too(tmp_path: Path, suffix: str) -> None:
    facts = probe(made(tmp_path / f"x.{suffix}", rate="25"))
    assert (facts.width_px, facts.height_px, facts.fps, facts.num_frames) == (128, 96, 25, 25)
    assert not facts.has_faststart


def test_a_file_without_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tone.m4a"
    run(["-f", "lavfi", "-i", "sine=duration=1", str(path)], "making a tone")
    with pytest.raises(PermanentError, match=r"tone\.m4a"):
        probe(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100], ids=["empty", "0", "ff"])
def test_bytes_that_are_no_video_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"x\.mp4"):
        probe(path)


@pytest.mark.parametrize("colour", ["black", "gray"])
def test_a_video_that_shows_nothing_is_told(tmp_path: Path, colour: str) -> None:
    path = tmp_path / "x.mp4"
    run(["-f", "lavfi", "-i", f"color={colour}:size=128x96:duration=2", *GOOD, str(path)], "making")
    assert is_one_colour(path)


def test_a_video_that_fades_in_from_black_shows_something(tmp_path: Path) -> None:
    path = made(tmp_path / "x.mp4", "-vf", "fade=in:0:25", *GOOD)
    assert not is_one_colour(path)
