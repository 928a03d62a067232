"""Uploads for the stages' tests: photos that differ to a perceptual hash, and hostile files."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image, ImageDraw

from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.storage.object_store import ObjectStore

KEY = DatasetKey("demo", "bella")
RULES = DatasetRules(min_side_px=64)
UPLOADS = "datasets/demo/bella/images/"
RIGHTS = b'{"subject": "synthetic", "evidence": "drawn by us", "licence": "CC0-1.0"}'


@lru_cache
def photo(seed: int = 1, image_format: str = "JPEG", size: tuple[int, int] = (160, 128)) -> bytes:
    """Another seed is another image."""
    return _saved(_drawn(seed, size), image_format)


def _drawn(seed: int, size: tuple[int, int]) -> Image.Image:
    shapes = random.Random(seed)  # noqa: S311 - an image, not a secret
    image = Image.new("RGB", size, tuple(shapes.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = shapes.randrange(size[0]), shapes.randrange(size[1])
        colour = tuple(shapes.randrange(256) for _ in range(3))
        draw.ellipse((left - 30, top - 30, left + 30, top + 30), fill=colour)
    return image


def _saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def nearly(seed: int = 1) -> bytes:
    """The photo of a seed, saved again with other bytes."""
    return _saved(_drawn(seed, (160, 128)), "JPEG", quality=60)


def zip_bomb_png() -> bytes:
    """A few kB that would decode to 2,500 million pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    row = zlib.compress(bytes(6251) * 200, 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", row) + _chunk(b"IEND")


def text_bomb_png() -> bytes:
    """A small image whose text chunk inflates to 50 MB."""
    png = photo(1, "PNG")
    inflater = zlib.compressobj(9)
    block = bytes(10_000_000)
    packed = b"".join(inflater.compress(block) for _ in range(5)) + inflater.flush()
    first_data = png.index(b"IDAT") - 4
    return png[:first_data] + _chunk(b"zTXt", b"Comment\0\0" + packed) + png[first_data:]


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def upload(store: ObjectStore, **files: bytes) -> None:
    """Put files below images/; `a_jpg` stands for `a.jpg`."""
    for name, data in files.items():
        put(store, name.replace("_", "."), data)


def put(store: ObjectStore, name: str, data: bytes) -> None:
    store.put_latest(UPLOADS + name, data)


def contents(store: ObjectStore, prefix: str = "") -> dict[str, bytes]:
    """Every object of the bucket, to compare before and after."""
    return dict(_contents(store, prefix))


def _contents(store: ObjectStore, prefix: str) -> Iterator[tuple[str, bytes]]:
    for info in store.list(prefix):
        yield info.key, store.get(info.key)
