"""Burn subtitles into video frames: cues become an ASS file that ffmpeg's `subtitles` filter draws.

SRT is not handed to ffmpeg as it came: its reader understands tags. The file here has one style of
our own and texts in which nothing can be markup (core/subtitles.py).
Follows the ASS v4+ format as libass reads it, and ffmpeg's "Notes on filtergraph escaping".
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from influencerai_dagster.core.sampling import VideoFormat
from influencerai_dagster.core.subtitles import Cue
from influencerai_dagster.errors import PermanentError

_FONT = "DejaVu Sans"
_FONT_FILE = "DejaVuSans.ttf"
_SUBTITLES_FILE = "subtitles.ass"
_LINE_BREAK = r"\N"
_UPRIGHT = 1.5
"""From this height to width on, the platforms' own buttons cover the bottom of the video."""
_HEAD = """[Script Info]
ScriptType: v4.00+
PlayResX: {width_px}
PlayResY: {height_px}
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,{font},{size},&H00FFFFFF,&H00000000,1,{outline},0,2,{side},{side},{bottom},1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def subtitles_filter(cues: Sequence[Cue], video_format: VideoFormat, folder: Path) -> str:
    """Write cues and their font into a folder; return the filter that draws them.

    Args:
        folder: a scratch folder that lives as long as the encoding. Letters that the font does not
            have are looked for among the machine's own fonts.

    Raises:
        PermanentError: the font is missing from this installation.
    """
    (folder / _SUBTITLES_FILE).write_text(_ass(cues, video_format), encoding="utf-8")
    fonts = folder / "fonts"
    fonts.mkdir()
    (fonts / _FONT_FILE).symlink_to(_font())
    file = _escaped(str(folder / _SUBTITLES_FILE))
    return f"subtitles=filename={file}:fontsdir={_escaped(str(fonts))}"


def _font() -> Path:
    """Return the font that comes with Matplotlib: a machine without fonts has it too."""
    found = importlib.util.find_spec("matplotlib")  # finds, does not import
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / _FONT_FILE
        if path.is_file():
            return path
    raise PermanentError(
        f"no font for subtitles: {_FONT_FILE} comes with the package matplotlib; install it again"
    )


def _ass(cues: Sequence[Cue], video_format: VideoFormat) -> str:
    width_px, height_px = video_format.width_px, video_format.height_px
    size = max(8, min(width_px, height_px) // 18)
    bottom = 0.18 if height_px > _UPRIGHT * width_px else 0.06
    head = _HEAD.format(
        width_px=width_px,
        height_px=height_px,
        font=_FONT,
        size=size,
        outline=max(1, size // 16),
        side=width_px // 14,
        bottom=int(bottom * height_px),
    )
    return head + "".join(
        f"Dialogue: 0,{_time(cue.start_ms)},{_time(cue.end_ms)},Default,,0,0,0,,"
        f"{_LINE_BREAK.join(cue.lines)}\n"
        for cue in cues
    )


def _time(milliseconds: int) -> str:
    seconds, centiseconds = divmod(round(milliseconds / 10), 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{centiseconds:02}"


def _escaped(value: str) -> str:
    """Escape a value twice: as an option of a filter, then as a part of a filter graph."""
    option = re.sub(r"([\\':])", r"\\\1", value)
    return re.sub(r"([\\'\[\],;])", r"\\\1", option)
