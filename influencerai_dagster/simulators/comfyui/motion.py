"""Make the frames of a video from one image: a slow zoom and a sway."""

import math
import random
from collections.abc import Iterator

from PIL import Image, ImageOps

from influencerai_dagster.simulators.comfyui.marks import add_simulated_mark

_USUAL_MOTION = 127
_MARGIN = 1.12
_MARK_HEIGHT = 0.87  # below the mark that the simulated first frame has already


def move(
    image: Image.Image, size: tuple[int, int], num_frames: int, seed: int, motion_bucket_id: int
) -> Iterator[Image.Image]:
    """Yield RGB frames of a size; a higher motion bucket moves more."""
    rng = random.Random(seed)  # noqa: S311 - looks, no secret
    amount = min(motion_bucket_id / _USUAL_MOTION, 2.0)
    phase, direction = rng.uniform(0, math.tau), rng.choice((-1, 1))
    margin = (round(size[0] * _MARGIN), round(size[1] * _MARGIN))
    source = ImageOps.fit(image, margin, Image.Resampling.BILINEAR)
    room_x, room_y = margin[0] - size[0], margin[1] - size[1]
    for index in range(num_frames):
        share = index / max(1, num_frames - 1)
        angle = phase + math.tau * share
        zoom = 1 - 0.05 * amount * (share if direction > 0 else 1 - share)
        wide, high = size[0] * zoom, size[1] * zoom
        left = (margin[0] - wide) / 2 + room_x * 0.3 * amount / 2 * math.sin(angle)
        top = (margin[1] - high) / 2 + room_y * 0.2 * amount / 2 * math.cos(angle)
        frame = source.transform(
            size,
            Image.Transform.EXTENT,
            (left, top, left + wide, top + high),
            Image.Resampling.BILINEAR,
        )
        add_simulated_mark(frame, _MARK_HEIGHT)
        yield frame
