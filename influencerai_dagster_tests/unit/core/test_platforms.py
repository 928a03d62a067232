"""A video is ordered for a platform: by preset, by aspect ratio, or by both if they agree."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from influencerai_dagster.core.platforms import PLATFORM_RULES, VideoPreset, format_for
from influencerai_dagster.core.sampling import VIDEO_FORMATS
from influencerai_dagster.generation.jobs import VideoJobPayload

SOURCE = UUID("6f0f2e1c-8f0b-5d43-9a53-3f6a4c1a7b10")
TIMING = "00:00:00,000 --> 00:00:04,167"


def payload(**fields: Any) -> VideoJobPayload:
    return VideoJobPayload.model_validate({"source_job_id": SOURCE, **fields})


def problem(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        payload(**fields)
    return str(caught.value)


def test_the_platforms_rules() -> None:
    found = {
        str(preset): (
            format_for(preset, rules.aspect_ratios[0]).model_dump(),
            rules.aspect_ratios,
        )
        for preset, rules in PLATFORM_RULES.items()
    }

    def expected(width_px: int, height_px: int, seconds: float, *ratios: str) -> tuple[Any, ...]:
        size = {"width_px": width_px, "height_px": height_px, "fps": 30}
        return ({**size, "max_duration_seconds": seconds}, ratios)

    assert found == {
        "instagram-reel": expected(1080, 1920, 900, "9:16"),
        "instagram-post": expected(1080, 1350, 900, "4:5", "1:1"),
        "tiktok": expected(1080, 1920, 600, "9:16"),
        "youtube-short": expected(1080, 1920, 180, "9:16"),
        "youtube-standard": expected(1920, 1080, 900, "16:9"),
    }
    assert PLATFORM_RULES.keys() == set(VideoPreset)


@pytest.mark.parametrize(
    ("fields", "preset", "aspect_ratio"),
    [
        ({}, "instagram-reel", "9:16"),
        ({"preset": None, "aspect_ratio": None}, "instagram-reel", "9:16"),
        ({"preset": "instagram-post"}, "instagram-post", "4:5"),
        ({"preset": "youtube-standard"}, "youtube-standard", "16:9"),
        ({"aspect_ratio": "9:16"}, "instagram-reel", "9:16"),
        ({"aspect_ratio": "1:1"}, "instagram-post", "1:1"),
        ({"aspect_ratio": "16:9"}, "youtube-standard", "16:9"),
        ({"preset": "tiktok", "aspect_ratio": "9:16"}, "tiktok", "9:16"),
        ({"preset": "instagram-post", "aspect_ratio": "1:1"}, "instagram-post", "1:1"),
    ],
    ids=str,
)
def test_preset_and_aspect_ratio_follow_from_each_other(
    fields: dict[str, Any], preset: str, aspect_ratio: str
) -> None:
    made = payload(**fields)
    assert (made.preset, made.aspect_ratio) == (preset, aspect_ratio)
    assert VideoJobPayload.model_validate_json(made.model_dump_json()) == made


def test_a_preset_and_an_aspect_ratio_that_contradict_are_refused_with_both_names() -> None:
    text = problem(preset="tiktok", aspect_ratio="1:1")
    assert "preset tiktok is 9:16, but aspect_ratio is 1:1" in text


@pytest.mark.parametrize("preset", ["vine", "", 7, [], {}], ids=str)
def test_an_unknown_preset_is_refused_by_field(preset: object) -> None:
    assert "preset" in problem(preset=preset)


@pytest.mark.parametrize("aspect_ratio", VIDEO_FORMATS)
def test_a_row_of_before_presets_is_what_the_same_order_is_today(aspect_ratio: str) -> None:
    row = {
        "kind": "video",
        "source_job_id": str(uuid4()),
        "aspect_ratio": aspect_ratio,
        "seed": 7,
        "steps": None,
        "num_frames": 1000,
        "fps": 1,
        "motion_bucket_id": 127,
        "base_model": None,
        "workflow": None,
    }
    made = VideoJobPayload.model_validate(row)
    assert made == payload(**row)
    assert made.num_segments == 1
    assert made.video_seconds == 900


def test_a_length_beyond_the_platform_is_refused_with_both_named() -> None:
    assert payload(preset="youtube-short", duration_seconds=180).video_seconds == 180
    text = problem(preset="youtube-short", duration_seconds=180.5)
    assert "duration_seconds is 180.5, but preset youtube-short takes at most 180 s" in text


@pytest.mark.parametrize("seconds", [0, 0.4, -1, float("nan"), float("inf")])
def test_a_length_that_is_none_is_refused_by_field(seconds: float) -> None:
    assert "duration_seconds" in problem(duration_seconds=seconds)


def test_a_video_has_as_many_segments_as_its_length_needs() -> None:
    counts = [payload(duration_seconds=seconds).num_segments for seconds in (1, 25 / 6, 4.2, 180)]
    assert counts == [1, 1, 2, 45]
    assert payload().num_segments == 1


def test_too_many_segments_are_refused_with_what_to_change() -> None:
    text = problem(duration_seconds=900, num_frames=2, fps=1)
    assert "900 s at 1 fps are 899 segments of 2 frames; at most 500 are made" in text


def test_subtitles_are_checked_when_the_job_is_submitted() -> None:
    assert len(payload(subtitles_srt=f"1\n{TIMING}\nhi").cues) == 1
    assert payload().cues == ()
    assert "line 2: expected" in problem(subtitles_srt="1\nnow\nhi")
    assert "subtitles_srt" in problem(subtitles_srt="x" * 100_001)


def test_a_subtitle_that_ends_after_the_video_is_refused_with_both_times() -> None:
    late = f"1\n{TIMING}\nhi\n\n2\n00:00:04,200 --> 00:00:05,500\nlate"
    text = problem(subtitles_srt=late)
    assert "subtitle 2 of subtitles_srt ends at 5.5 s, but the video is 4.167 s long" in text
    assert payload(subtitles_srt=late, duration_seconds=5.5).cues
