"""`influencerai jobs watch`: printed once, and live in a terminal of 80 columns and of 160."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console
from sqlalchemy import text

from influencerai_dagster.cli.server_probes import ProbedServer, ServerProbes
from influencerai_dagster.cli.watch_view import Snapshot, view
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.running_trainings import begin_training
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue.statistics import (
    FailedJob,
    RunningJob,
    TenantStatistics,
    Training,
)
from influencerai_dagster_tests.testing.catalog_rows import claim_one, complete_job, submit_one
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator, comfyui_simulator
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

AWAY = f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    with comfyui_simulator(tmp_path_factory.mktemp("comfyui")) as simulator:
        yield simulator


@pytest.fixture
def jobs(cli: CommandLine, comfyui: ComfyUISimulator) -> CommandLine:
    """A job that runs, is done and failed of demo, one pending of other; a server that is down."""
    cli.environment.setenv("COMFYUI_URL", f"{comfyui.url},{AWAY}")
    with transaction(cli.engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
    submit_one(cli.engine)
    complete_job(cli.engine, claim_one(cli.engine))
    submit_one(cli.engine)
    failed = claim_one(cli.engine)
    with transaction(cli.engine) as session:
        job_queue.fail(session, failed.id, failed.lease_token, PermanentError("no [such] sampler"))
    submit_one(cli.engine)
    running = claim_one(cli.engine)
    with transaction(cli.engine) as session:
        values = {"server": comfyui.url, "id": running.id}
        statement = "UPDATE jobs SET server = :server, progress = 0.42 WHERE id = :id"
        session.execute(text(statement), values)
    submit_one(cli.engine, tenant="other")
    return cli


@contextmanager
def training(cli: CommandLine) -> Iterator[None]:
    """A training whose run is alive."""
    with transaction(cli.engine) as session:
        begin_training(session, "r", "demo/bella", owns_gpu=True)
    yield
    with transaction(cli.engine) as session:
        session.execute(text("DELETE FROM running_trainings"))


def test_without_a_terminal_it_prints_once_and_ends(
    jobs: CommandLine, comfyui: ComfyUISimulator
) -> None:
    answer = jobs("jobs", "watch")
    assert answer.exit_code == 0
    host = comfyui.url.removeprefix("http://")
    assert f"{host} up 0 0" in answer
    assert f"{AWAY.removeprefix('http://')} down" in answer
    assert "demo · · · · 1 1 1 0.2" in answer
    assert "other 1 · · · · · · 0.0" in answer
    assert "1 running" in answer
    assert "42 %" in answer
    assert "no [such] sampler" in answer


def test_one_tenant_is_shown_alone(jobs: CommandLine) -> None:
    answer = jobs("jobs", "watch", "--tenant", "other", "--once")
    assert "other 1" in answer
    assert "demo" not in answer


def test_an_unknown_tenant_is_refused(jobs: CommandLine) -> None:
    answer = jobs("jobs", "watch", "--tenant", "nobody", "--once")
    assert answer.exit_code == 1
    assert "`influencerai tenant add nobody`" in answer


def test_a_training_on_the_shared_gpu_is_named_with_what_waits_for_it(jobs: CommandLine) -> None:
    with training(jobs):
        assert "training: demo/bella for " in jobs("jobs", "watch")
        jobs.environment.setenv("GPU_SHARED", "true")
        answer = jobs("jobs", "watch")
    assert re.search(r"training demo/bella for \d+ s; 1 renders wait for the GPU", answer.text)
    assert "GPU (shared): free for renders" in jobs("jobs", "watch")


def test_in_a_terminal_it_goes_on_until_ctrl_c_and_leaves_the_last_table(
    jobs: CommandLine, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "influencerai_dagster.cli", "jobs", "watch"]
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(
        [*command, "--interval", "0.2"],
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=tmp_path,
        env=environment,
    )
    os.close(child)
    seen: list[str] = []

    def read() -> None:
        try:
            while data := os.read(parent, 65536):
                seen.append(data.decode(errors="replace"))
        except OSError:
            pass  # the terminal's other end was closed: the process has ended

    reader = threading.Thread(target=read)
    reader.start()

    def wait_for(words: str) -> None:
        wait_until(lambda: words in "".join(seen), f"{words} on the screen")

    try:
        wait_for("1 running")
        submit_one(jobs.engine)
        claim_one(jobs.engine, tenant="demo")
        wait_for("2 running")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=40) == 0
    finally:
        process.kill()
        process.wait()
        reader.join(timeout=10)
        os.close(parent)
    after_the_screen = "".join(seen).rsplit("\x1b[?1049l", maxsplit=1)[-1]
    assert "2 running" in after_the_screen


def test_a_server_that_is_silent_holds_up_nobody(comfyui: ComfyUISimulator) -> None:
    comfyui.faults(answer_delay_seconds=1.0)
    try:
        with ServerProbes([comfyui.url, AWAY]) as probes:
            started = time.monotonic()
            first = probes.states()
            assert time.monotonic() - started < 0.5
            assert first[0] == ProbedServer(comfyui.url, is_up=None)
            second = probes.states(wait_seconds=10)
            assert [state.is_up for state in second] == [True, False]
    finally:
        comfyui.faults(reset=True)


JOB_ID = UUID("0682ef3d-052c-4749-b022-b45c2a32025f")


def statistics(tenant: str) -> TenantStatistics:
    """A tenant whose numbers are as wide as they come."""
    return TenantStatistics(
        tenant=tenant,
        gpu_weight=1,
        pending=10_000,
        waiting_for_lora=1_000,
        waiting_for_image=300,
        in_backoff=7,
        running=12,
        done=98_765,
        failed=1_234,
        per_minute=123.4,
        wait_p50=59.94,
        wait_p95=5_400,
        gpu_seconds=98_765,
        share=1,
    )


def drawn(
    width: int, *, height: int | None = None, num_tenants: int = 1, num_running: int = 1
) -> list[str]:
    job = RunningJob(JOB_ID, "t" * 63, JobKind.IMAGE, "http://127.0.0.1:8188", 0.5, 90)
    snapshot = Snapshot(
        tenants=[statistics(f"{number:02}-{'t' * 60}") for number in range(num_tenants)],
        running=[job] * num_running,
        failures=[FailedJob(JOB_ID, "demo", JobKind.IMAGE, "because " * 100, datetime.now(UTC))],
        trainings=[Training("demo/bella", 4000)],
        servers=[ProbedServer("http://gpu1:8188", is_up=True, running=1, pending=20)],
        is_gpu_shared=True,
    )
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(view(snapshot, width, height=height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_in_80_columns_every_number_is_whole_and_what_is_held_back_is_one_number() -> None:
    lines = drawn(80)
    assert max(map(len, lines)) <= 80
    (row,) = [line.split() for line in lines if line.startswith("00-")]
    expected = "10,000 1,307 12 98,765 1,234 123.4 59.9 s 1.5 h 98,765 100 %"
    assert row[1:] == expected.split()
    (heading,) = [line.split() for line in lines if "pending" in line]
    assert heading[1:] == [
        "pending",
        "held",
        "runs",
        "done",
        "failed",
        "/min",
        "p50",
        "p95",
        "GPU",
        "s",
        "share",
    ]


def test_in_160_columns_ids_are_whole_and_reasons_are_apart() -> None:
    lines = drawn(160)
    assert max(map(len, lines)) <= 160
    assert sum(str(JOB_ID) in line for line in lines) == 2
    (heading,) = [line for line in lines if "pending" in line]
    assert "no LoRA   no image   backoff" in heading


def test_running_jobs_that_do_not_fit_the_screen_are_counted() -> None:
    lines = drawn(80, height=24, num_running=12)
    assert len(lines) <= 24
    assert any(line.startswith("… ") and line.endswith(" more") for line in lines)
    assert not any("more" in line for line in drawn(80, num_running=12))


def test_tenants_beyond_thirty_are_counted() -> None:
    assert "… 5 more" in drawn(80, num_tenants=35)


def test_a_long_reason_takes_two_lines() -> None:
    assert sum("because" in line for line in drawn(80)) == 2
