"""Groups of real processes on this machine."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from influencerai_dagster.engines.kohya.process import run_program
from influencerai_dagster.errors import TransientError
from influencerai_dagster_tests.testing.waiting import wait_until

# Starts a child that waits, says its id, and waits for it; argument "stubborn" ignores SIGTERM.
FAMILY = """
import signal, subprocess, sys, time
ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = (ignore if "stubborn" in sys.argv else "") + "import time; time.sleep(3600)"
child = subprocess.Popen([sys.executable, "-c", code])
print(f"child {child.pid}", file=sys.stderr, flush=True)
if "leave" not in sys.argv:
    child.wait()
"""


def is_running(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Family:
    """Follows a FAMILY script: knows its processes when it spoke, then raises what it is told."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error
        self._text = ""
        self.child = 0

    def read(self, text: str) -> None:
        self._text += text
        if self._text.endswith("\n"):
            self.child = int(self._text.split()[1])
            if self._error:
                raise self._error


def run_family(tmp_path: Path, family: Family, *arguments: str, limit: float | None = None) -> int:
    finished = run_program(
        [sys.executable, "-c", FAMILY, *arguments],
        cwd=tmp_path,
        log_path=tmp_path / "log",
        on_stderr=family.read,
        time_limit_seconds=limit,
        terminate_grace_seconds=0.5,
    )
    return finished.exit_code


def test_output_of_both_streams_is_kept_in_the_log(tmp_path: Path) -> None:
    code = r"import sys; print('out ü'); sys.stderr.write('\rbar 1\rbar 2'); sys.exit(3)"
    heard: list[str] = []
    finished = run_program(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        log_path=tmp_path / "log",
        on_stderr=heard.append,
    )
    assert finished.exit_code == 3
    assert finished.stderr == "".join(heard) == "\rbar 1\rbar 2"
    log = (tmp_path / "log").read_bytes().decode()
    assert "out ü\n" in log
    assert "\rbar 1\rbar 2" in log


def test_the_environment_is_wide_unbuffered_and_without_what_the_program_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY", "secret")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LINES", "50")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    names = (
        "COLUMNS PYTHONUNBUFFERED PYTHONPATH BACKUP_ENCRYPTION_KEY LINES CUDA_VISIBLE_DEVICES "
        "WANDB_MODE"
    )
    code = f"import os, sys; sys.stderr.write(repr([os.environ.get(n) for n in '{names}'.split()]))"
    finished = run_program(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        log_path=tmp_path / "log",
        extra_variables=["WANDB_*"],
    )
    assert finished.stderr == repr(["1000", "1", str(tmp_path), None, None, "1", "offline"])


def test_a_signal_that_killed_the_program_is_its_exit_code(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    finished = run_program([sys.executable, "-c", code], cwd=tmp_path, log_path=tmp_path / "log")
    assert finished.exit_code == -signal.SIGKILL


@pytest.mark.parametrize(
    "error", [ValueError("callback"), KeyboardInterrupt(), SystemExit(1)], ids=repr
)
@pytest.mark.parametrize("arguments", [(), ("stubborn",)], ids=["polite", "stubborn"])
def test_no_process_outlives_an_exception(
    tmp_path: Path, error: BaseException, arguments: tuple[str, ...]
) -> None:
    family = Family(error)
    with pytest.raises(type(error)):
        run_family(tmp_path, family, *arguments)
    wait_until(lambda: not is_running(family.child), "the child ends")


def test_no_child_outlives_a_program_that_ended(tmp_path: Path) -> None:
    family = Family(None)
    assert run_family(tmp_path, family, "leave") == 0
    wait_until(lambda: not is_running(family.child), "the child ends")


def test_the_time_limit_ends_the_group_and_may_be_tried_again(tmp_path: Path) -> None:
    family = Family(None)
    with pytest.raises(TransientError, match="time limit of 1 s"):
        run_family(tmp_path, family, limit=1)
    wait_until(lambda: not is_running(family.child), "the child ends")


def test_no_process_outlives_a_worker_that_was_killed(tmp_path: Path) -> None:
    worker_code = f"""
import sys
from pathlib import Path
from influencerai_dagster.engines.kohya.process import run_program
folder = Path(sys.argv[1])
run_program([sys.executable, "-c", {FAMILY!r}], cwd=folder, log_path=folder / "log")
"""
    worker = subprocess.Popen([sys.executable, "-c", worker_code, str(tmp_path)])
    log = tmp_path / "log"
    try:
        wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "a line")
        child = int(log.read_text().split()[1])
        group = os.getpgid(child)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    try:
        wait_until(lambda: not is_running(child), "the child ends")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
