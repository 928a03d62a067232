"""Define the presets of the platforms: a video's size, frame rate, longest time and loudness.

The limits are those of the interfaces that publish; what a platform recommends may be shorter.

- Instagram: "Reel Specifications" of the Instagram platform's reference, IG User Media (MP4, H.264,
  4:2:0, index first, AAC up to 48 kHz, 23 to 60 fps, 15 minutes, at least 3 s); a single video of a
  feed is a reel there too. Feed images are 4:5 to 1.91:1.
  https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-user/media
- TikTok: "Video Restrictions" of the Content Posting API's Media Transfer Guide (23 to 60 fps, 360
  to 4096 pixels a side, 10 minutes; an account may be held to less).
  https://developers.tiktok.com/doc/content-posting-api-media-transfer-guide
- YouTube: a video that is square or taller and at most 3 minutes long is a Short; any account may
  upload 15 minutes, a verified one 12 hours.
  https://support.google.com/youtube/answer/15424877 and https://support.google.com/youtube/answer/71673
"""

from enum import StrEnum

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.sampling import VIDEO_FORMATS, AspectRatio, VideoFormat

LOUDNESS_LUFS = -16.0
LOUDNESS_TOLERANCE_LU = 1.0


class VideoPreset(StrEnum):
    """Where a video is meant to be published."""

    INSTAGRAM_REEL = "instagram-reel"
    INSTAGRAM_POST = "instagram-post"
    TIKTOK = "tiktok"
    YOUTUBE_SHORT = "youtube-short"
    YOUTUBE_STANDARD = "youtube-standard"


class PlatformRules(Value):
    """What one platform takes.

    Attributes:
        aspect_ratios: those that it shows whole; the first is the preset's own.
    """

    aspect_ratios: tuple[AspectRatio, ...]
    max_duration_seconds: int


PLATFORM_RULES = {
    VideoPreset.INSTAGRAM_REEL: PlatformRules(aspect_ratios=("9:16",), max_duration_seconds=900),
    VideoPreset.INSTAGRAM_POST: PlatformRules(
        aspect_ratios=("4:5", "1:1"), max_duration_seconds=900
    ),
    VideoPreset.TIKTOK: PlatformRules(aspect_ratios=("9:16",), max_duration_seconds=600),
    VideoPreset.YOUTUBE_SHORT: PlatformRules(aspect_ratios=("9:16",), max_duration_seconds=180),
    VideoPreset.YOUTUBE_STANDARD: PlatformRules(aspect_ratios=("16:9",), max_duration_seconds=900),
}


def format_for(preset: VideoPreset, aspect_ratio: AspectRatio) -> VideoFormat:
    """Return size, frame rate and longest time of a preset's video in one of its aspect ratios."""
    longest = PLATFORM_RULES[preset].max_duration_seconds
    return VIDEO_FORMATS[aspect_ratio].model_copy(update={"max_duration_seconds": longest})


def preset_for(aspect_ratio: object) -> VideoPreset:
    """Return the preset of a job that names only an aspect ratio, or nothing."""
    for preset, rules in PLATFORM_RULES.items():
        if aspect_ratio in rules.aspect_ratios:
            return preset
    return VideoPreset.INSTAGRAM_REEL


def own_aspect_ratio(preset: object) -> AspectRatio | None:
    """Return the aspect ratio of a job that names only a preset; None if the preset has none."""
    for name, rules in PLATFORM_RULES.items():
        if preset == name:
            return rules.aspect_ratios[0]
    return None
