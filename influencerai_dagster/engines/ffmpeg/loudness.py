"""Measure the loudness of audio, and encode audio at the loudness of the platforms.

Loudness is integrated loudness after EBU R 128 (ITU-R BS.1770), by ffmpeg's ebur128. One pass of
loudnorm misses its target by several LU in a short video, and AAC takes some loudness away; here a
gain with a limiter is corrected until what was encoded fits.
"""

import re
from pathlib import Path

from influencerai_dagster.core.platforms import LOUDNESS_LUFS
from influencerai_dagster.engines.ffmpeg.program import input_file, run

_SILENCE_LUFS = -70.0
"""The value of ebur128 for silence, and for less than 0.4 s of any audio."""
_PEAK = 10 ** (-1.5 / 20)
_MAX_PASSES = 10
_NUM_DIRECT_PASSES = 2
_CLOSE_LU = 0.3
_INTEGRATED = re.compile(r"Integrated loudness:\s+I:\s+(-?[\d.]+|nan|-inf) LUFS")
_AUDIO = re.compile(r"Stream #0:\d+[^:]*: Audio: ")


def has_audio(log: str) -> bool:
    """Whether the input has audio, by ffmpeg's log."""
    return _AUDIO.search(log) is not None


def measure_loudness(path: Path, *, program: str | None = None) -> float | None:
    """Return the loudness of a file's audio in LUFS; None if it is silent or too short to measure.

    Raises:
        PermanentError: there is no audio, or it does not decode.
    """
    arguments = ["-xerror", *input_file(path), "-map", "0:a:0", "-vn"]
    arguments += ["-af", "ebur128=framelog=quiet", "-f", "null", "-"]
    log = run(arguments, f"loudness of {path.name}", program=program).log
    found = _INTEGRATED.findall(log)
    value = float(found[-1]) if found else _SILENCE_LUFS
    return value if value > _SILENCE_LUFS else None


def normalise_audio(
    source: Path, output: Path, *, seconds: float, program: str | None = None
) -> None:
    """Encode the audio of a file as stereo AAC of −16 LUFS with peaks at −1.5 dB; silence stays.

    Args:
        output: ends in ".m4a".
        seconds: audio after these is cut.

    Raises:
        PermanentError: there is no audio, or it does not decode.
    """
    gain_db = 0.0
    too_low: float | None = None
    too_high: float | None = None
    for number in range(_MAX_PASSES):
        _encode_audio(source, output, gain_db, seconds, program)
        loudness = measure_loudness(output, program=program)
        if loudness is None or abs(loudness - LOUDNESS_LUFS) <= _CLOSE_LU:
            return
        if loudness < LOUDNESS_LUFS:
            too_low = gain_db
        else:
            too_high = gain_db
        if too_low is None or too_high is None or number < _NUM_DIRECT_PASSES:
            # Where the limiter eats the gain, a step of the difference is too small.
            gain_db += (LOUDNESS_LUFS - loudness) * 2 ** max(0, number - 1)
        else:
            gain_db = (too_low + too_high) / 2


def _encode_audio(
    source: Path, output: Path, gain_db: float, seconds: float, program: str | None
) -> None:
    chain = (
        "aresample=48000,aformat=sample_fmts=flt:channel_layouts=stereo,"
        f"volume={gain_db:.2f}dB,alimiter=limit={_PEAK:.4f}:level=disabled"
    )
    arguments = ["-loglevel", "error", "-xerror", *input_file(source)]
    arguments += [
        "-map",
        "0:a:0",
        "-vn",
        "-af",
        chain,
        "-t",
        f"{seconds:.6f}",
        "-map_metadata",
        "-1",
    ]
    arguments += ["-c:a", "aac", "-b:a", "128k", "-f", "ipod", f"file:{output}"]
    run(arguments, f"audio of {source.name}", program=program)
