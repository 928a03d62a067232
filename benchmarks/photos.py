"""Make photos to scan: soft shapes under grain, so that a JPEG is as big as a camera's."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

_SHAPES_A_SIDE = 12
_GRAIN = 8
_MIN_MEGAPIXELS, _MAX_MEGAPIXELS = 1.5, 3.0


def write_photos(folder: Path, count: int, *, size_px: tuple[int, int] | None = None) -> None:
    """Write img00000.jpg and so on, every one another image.

    Args:
        folder: made if missing.
        count: how many.
        size_px: width and height; None draws 1.5 to 3 megapixels at 3:4 or 4:3.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Processes of their own: the one that measures stays small, and both cores are used.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        list(pool.map(partial(_write_photo, folder, size_px), range(count), chunksize=25))


def _write_photo(folder: Path, size_px: Sequence[int] | None, index: int) -> None:
    generator = np.random.default_rng(index)
    if size_px is None:
        pixels = generator.uniform(_MIN_MEGAPIXELS, _MAX_MEGAPIXELS) * 1e6
        short_px, long_px = int((pixels * 3 / 4) ** 0.5), int((pixels * 4 / 3) ** 0.5)
        size_px = (short_px, long_px) if index % 2 else (long_px, short_px)
    width_px, height_px = size_px
    shapes = generator.integers(0, 256, (_SHAPES_A_SIDE, _SHAPES_A_SIDE, 3), dtype=np.uint8)
    image = Image.fromarray(shapes).resize((width_px, height_px), Image.Resampling.BICUBIC)
    grain = generator.integers(-_GRAIN, _GRAIN + 1, (height_px, width_px, 1), dtype=np.int16)
    photo = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(photo).save(folder / f"img{index:05d}.jpg", quality=90)
