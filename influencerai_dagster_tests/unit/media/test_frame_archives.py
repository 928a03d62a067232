"""Frames come out of an archive as they went in, and nothing else does."""

import zipfile
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.frame_archives import (
    frame_name,
    pack_frames,
    pixels_sha256,
    unpack_frames,
)


def written(folder: Path, *contents: bytes) -> list[Path]:
    paths = [folder / f"frame {index}" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_frames_come_back_in_their_order(tmp_path: Path) -> None:
    archive = tmp_path / "frames.zip"
    pack_frames(written(tmp_path, b"one", b"two", b""), archive)
    frames = unpack_frames(archive, 3, lambda index: tmp_path / f"out-{index}")
    assert [frame.read_bytes() for frame in frames] == [b"one", b"two", b""]


@pytest.mark.parametrize("num_frames", [0, 1, 3, 10**12])
def test_another_number_of_frames_is_refused(tmp_path: Path, num_frames: int) -> None:
    archive = tmp_path / "frames.zip"
    pack_frames(written(tmp_path, b"one", b"two"), archive)
    with pytest.raises(PermanentError, match=r"frames\.zip does not hold"):
        unpack_frames(archive, num_frames, lambda index: tmp_path / f"{index}")


@pytest.mark.parametrize(
    ("name", "compression"),
    [
        ("../../escape.png", zipfile.ZIP_STORED),
        ("/etc/x.png", zipfile.ZIP_STORED),
        (frame_name(1), zipfile.ZIP_STORED),
        (frame_name(0), zipfile.ZIP_DEFLATED),
    ],
    ids=["parent", "absolute", "gap", "bomb"],
)
def test_anything_else_in_an_archive_is_refused(
    tmp_path: Path, name: str, compression: int
) -> None:
    archive = tmp_path / "frames.zip"
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr(name, b"x" * 1000)
    with pytest.raises(PermanentError, match="does not hold"):
        unpack_frames(archive, 1, lambda index: tmp_path / f"{index}")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_archive_is_refused(tmp_path: Path, share: float) -> None:
    archive = tmp_path / "frames.zip"
    pack_frames(written(tmp_path, b"x" * 1000), archive)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PermanentError, match=r"frames\.zip is not a complete ZIP file"):
        unpack_frames(archive, 1, lambda index: tmp_path / f"{index}")


def png(path: Path, colour: int, size: tuple[int, int] = (4, 6), text: str = "a") -> bytes:
    info = PngInfo()
    info.add_text("prompt", text)
    Image.new("RGB", size, (colour, 0, 0)).save(path, "PNG", pnginfo=info)
    return path.read_bytes()


def test_the_hash_of_pixels_is_that_of_what_is_seen(tmp_path: Path) -> None:
    one = png(tmp_path / "a.png", 1)
    assert pixels_sha256(one) == pixels_sha256(png(tmp_path / "b.png", 1, text="b"))
    assert pixels_sha256(one) != pixels_sha256(png(tmp_path / "b.png", 2))
    assert pixels_sha256(one) != pixels_sha256(png(tmp_path / "b.png", 1, size=(6, 4)))
