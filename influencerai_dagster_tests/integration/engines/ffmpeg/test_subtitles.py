"""Subtitles are seen where and when they should be, on any machine, and stay text."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.core.subtitles import Cue, parse_srt
from influencerai_dagster.engines.ffmpeg.encoding import frames_to_mp4
from influencerai_dagster.engines.ffmpeg.program import run
from influencerai_dagster.engines.ffmpeg.subtitles import subtitles_filter

TALL = VideoFormat(width_px=216, height_px=384, fps=30)
SRT = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n2\n00:00:01,500 --> 00:00:02,000\nÜber αβγ, да!\n"


def video(output: Path, cues: tuple[Cue, ...] = ()) -> Path:
    """2 s of grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (144, 256), (90, 90, 90)).save(buffer, "PNG")
    frames_to_mp4([buffer.getvalue()] * 2, input_fps=1, video_format=TALL, output=output, cues=cues)
    return output


def changed_at(with_text: Path, plain: Path, seconds: float) -> tuple[int, int, int, int] | None:
    """Return the box in which two videos differ at a time."""
    images = []
    for path in (with_text, plain):
        png = path.with_suffix(".png")
        shot = ["-ss", f"{seconds}", "-i", f"file:{path}", "-frames:v", "1", "-update", "1"]
        run([*shot, f"file:{png}"], "frame of a video")
        with Image.open(png) as image:
            images.append(image.convert("L"))
    difference = ImageChops.difference(*images)
    return difference.point(lambda value: 255 if value > 60 else 0).getbbox()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "it's a [folder], 100%; a:b=c"
    path.mkdir()
    return path


@pytest.mark.parametrize("has_fonts", [True, False], ids=["fonts", "no fonts"])
def test_text_is_in_the_lower_third_while_its_cue_lasts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, has_fonts: bool
) -> None:
    if not has_fonts:
        config = folder / "fonts.conf"
        config.write_text('<!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig></fontconfig>')
        monkeypatch.setenv("FONTCONFIG_FILE", str(config))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    texts, plain = video(folder / "texts.mp4", parse_srt(SRT)), video(folder / "plain.mp4")
    for seconds in (0.5, 1.7):
        box = changed_at(texts, plain, seconds)
        assert box is not None, f"no text at {seconds} s"
        left, top, right, bottom = box
        assert top > TALL.height_px * 2 / 3
        assert bottom < TALL.height_px
        assert abs(left + right - TALL.width_px) < 20, "the text is not in the middle"
    assert changed_at(texts, plain, 1.25) is None


@pytest.mark.parametrize("text", ["a, b; c: d = 'e' [f] %{g}"[:22], "<3 x < y > z", "Dialogue: 0,"])
def test_a_text_that_looks_like_options_stays_a_text(folder: Path, text: str) -> None:
    cue = Cue(start_ms=0, end_ms=1000, lines=(text,))
    written = subtitles_filter([cue], TALL, folder)
    lines = (folder / "subtitles.ass").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == f"Dialogue: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,{text}"
    assert text not in written


def test_lines_of_a_cue_are_lines_of_the_image(folder: Path) -> None:
    cue = Cue(start_ms=3_723_456, end_ms=3_724_000, lines=("one", "two"))
    subtitles_filter([cue], TALL, folder)
    text = (folder / "subtitles.ass").read_text(encoding="utf-8")
    assert text.endswith(r"0,1:02:03.46,1:02:04.00,Default,,0,0,0,,one\Ntwo" + "\n")
