"""A file from outside is read as the video it should be, and never leads to another file."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.engines.ffmpeg.encoding import frames_to_mp4, poster_frame, video_to_mp4
from influencerai_dagster.engines.ffmpeg.loudness import measure_loudness, normalise_audio
from influencerai_dagster.engines.ffmpeg.probing import measure, probe
from influencerai_dagster.engines.ffmpeg.program import run
from influencerai_dagster.errors import PermanentError

SMALL = VideoFormat(width_px=64, height_px=64, fps=30)
# Each names the file of another tenant; none is a video, whatever its ending says.
PLAYLISTS: dict[str, Callable[[Path], str]] = {
    "dash": lambda victim: (
        f"""<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
 profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" minBufferTime="PT1S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1000">
<BaseURL>file://{victim}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""
    ),
    "hls": lambda victim: (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{victim}\n#EXT-X-ENDLIST\n"
    ),
    "ffconcat": lambda victim: f"ffconcat version 1.0\nfile '{victim}'\n",
    "relative ffconcat": lambda victim: f"ffconcat version 1.0\nfile {victim.name}\n",
    "sdp": lambda _: "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "imf": lambda victim: (
        f"""<?xml version="1.0"?>
<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">{victim}
</CompositionPlaylist>"""
    ),
    "ass": lambda _: "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,x\n",
    "srt": lambda _: "1\n00:00:00,000 --> 00:00:01,000\ntext\n",
    "svg": lambda victim: f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{victim}"/></svg>',
    "ansi art": lambda _: "\x1b[31mtext\x1b[0m\n" * 20,
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with sound that belongs to another tenant."""
    path = tmp_path_factory.mktemp("victim") / "output.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration=1"]
    source += ["-f", "lavfi", "-i", "sine=duration=1", "-c:v", "libx264", "-c:a", "aac"]
    run([*source, "-movflags", "+dash", str(path)], "making a video")
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_or_a_text_named_as_a_video_is_refused(
    victim: Path, kind: str, suffix: str
) -> None:
    video = victim.parent / f"video{suffix}"
    video.write_text(PLAYLISTS[kind](victim))
    with pytest.raises(PermanentError, match=f"probe of video{suffix}"):
        measure(video)


@pytest.mark.parametrize(
    "use",
    [
        probe,
        measure_loudness,
        lambda video: video_to_mp4(video, video_format=SMALL, output=video.with_name("out.mp4")),
        lambda video: poster_frame(video, video.with_name("out.png")),
        lambda video: normalise_audio(video, video.with_name("out.m4a"), seconds=1),
    ],
    ids=["probe", "loudness", "encoding", "poster", "sound"],
)
def test_no_step_reads_another_file_through_a_video(
    victim: Path, use: Callable[[Path], object]
) -> None:
    video = victim.parent / "video.mp4"
    video.write_text(PLAYLISTS["dash"](victim))
    with pytest.raises(PermanentError, match="its content is not MP4, MOV or WebM"):
        use(video)
    assert not list(victim.parent.glob("out.*"))


def test_a_file_that_is_a_video_is_read(victim: Path) -> None:
    assert measure(victim).has_audio


def test_frames_that_only_begin_like_an_image_are_refused(tmp_path: Path) -> None:
    wave = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data"
    with pytest.raises(PermanentError, match=r"000000\.webp"):
        frames_to_mp4([wave], input_fps=1, video_format=SMALL, output=tmp_path / "out.mp4")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_real_frames_are_read_from_a_folder_whose_name_is_a_pattern(
    tmp_path: Path, image_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "%03d*[x]"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    content = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(content, image_format)
    frames_to_mp4(
        [content.getvalue()], input_fps=1, video_format=SMALL, output=tmp_path / "out.mp4"
    )
    assert probe(tmp_path / "out.mp4").num_frames == 30


def test_frames_of_gigabytes_are_refused_before_their_memory_is_taken(tmp_path: Path) -> None:
    video = tmp_path / "large.mov"
    source = ["-f", "lavfi", "-i", "color=size=10000x5000:rate=1", "-frames:v", "1"]
    run([*source, "-c:v", "mjpeg", str(video)], "a large video")
    with pytest.raises(PermanentError, match="10000×5000 pixels, and at most 40000000"):
        probe(video)
