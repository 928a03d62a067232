"""Each way in which ffmpeg can end becomes a value or one of our errors."""

from pathlib import Path

import pytest

from influencerai_dagster.engines.ffmpeg.program import run
from influencerai_dagster.errors import InsufficientStorageError, PermanentError, TransientError

ENDLESS = ["-re", "-f", "lavfi", "-i", "testsrc=size=64x64", "-f", "null", "-"]


def test_an_outcome_counts_frames_and_seconds() -> None:
    source = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration=2"]
    outcome = run([*source, "-f", "null", "-"], "counting")
    assert (outcome.num_frames, outcome.duration_seconds) == (20, 2.0)


def test_a_refusal_carries_ffmpegs_own_words() -> None:
    with pytest.raises(
        PermanentError, match=r"reading of x: ffmpeg ended with \d+: .*No such file"
    ):
        run(["-loglevel", "error", "-i", "absent.mp4", "-f", "null", "-"], "reading of x")


def test_a_full_disk_waits_for_space() -> None:
    source = ["-f", "lavfi", "-i", "testsrc=size=64x64:duration=1"]
    with pytest.raises(InsufficientStorageError, match="writing of x: the disk is full"):
        run([*source, "-f", "rawvideo", "/dev/full"], "writing of x")


def test_a_run_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(TransientError, match=r"endless: ffmpeg was stopped after 0\.3 s"):
        run(ENDLESS, "endless", timeout_seconds=0.3)


def test_a_program_killed_from_outside_is_passing(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    with pytest.raises(TransientError, match="killed by signal 9"):
        run(["-version"], "asking", program=str(program))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"asking: ffmpeg cannot be started.*no-ffmpeg"):
        run(["-version"], "asking", program=str(tmp_path / "no-ffmpeg"))
