"""Divide a long video into segments that a video model can make, each from the last frame before.

The first frame of a segment repeats the last frame of the one before, so it is left out of the
video. core/object_paths.py has the keys of segments, render/segment_manifest.py
their manifest.
"""

import hashlib
import math

from influencerai_dagster.core.sampling import NUM_DRAWN_SEEDS

MAX_SEGMENTS = 500


def frames_needed(seconds: float, fps: int) -> int:
    """Return how many frames fill so many seconds, at least 1."""
    # Less than a thousandth of a frame is a rounding error: 4.2 s at 5 fps are 21 frames, not 22.
    return max(1, math.ceil(seconds * fps - 0.001))


def segments_needed(num_frames: int, frames_per_segment: int) -> int:
    """Return how many segments of so many frames (at least 2) a video of num_frames is made of."""
    rest = max(0, num_frames - frames_per_segment)
    return 1 + math.ceil(rest / (frames_per_segment - 1))


def segment_seed(seed: int, segment: int) -> int:
    """Return the seed of a segment (0 is the first, whose seed is the job's own), below 2**53."""
    if segment == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{segment}".encode()).digest()
    return int.from_bytes(digest[:8]) % NUM_DRAWN_SEEDS
