"""A long video has just enough segments, each with a seed of its own."""

from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.generation.segment_plan import (
    frames_needed,
    segment_seed,
    segments_needed,
)


@given(st.integers(1, 5000), st.integers(2, 100))
def test_segments_that_share_a_frame_fill_the_video_and_none_is_too_many(
    num_frames: int, frames_per_segment: int
) -> None:
    count = segments_needed(num_frames, frames_per_segment)

    def filled(segments: int) -> int:
        return segments * frames_per_segment - (segments - 1)

    assert filled(count) >= num_frames
    assert count == 1 or filled(count - 1) < num_frames


def test_frames_fill_the_length_and_rounding_adds_none() -> None:
    assert [frames_needed(seconds, 6) for seconds in (25 / 6, 4.17, 10, 0.01)] == [25, 26, 60, 1]
    assert frames_needed(4.2, 5) == 21


@given(st.integers(0, 2**64 - 1), st.integers(1, 500))
def test_a_segment_has_a_seed_that_anyone_can_compute_and_no_other_has(
    seed: int, segment: int
) -> None:
    assert segment_seed(seed, 0) == seed
    assert 0 <= segment_seed(seed, segment) < 2**53
    assert segment_seed(seed, segment) == segment_seed(seed, segment)
    assert segment_seed(seed, segment) != segment_seed(seed, segment + 1)
