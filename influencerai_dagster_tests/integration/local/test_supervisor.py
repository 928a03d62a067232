import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.local.supervisor import Service, Supervisor
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

DEADLINE_SECONDS = 10.0


def shell(name: str, script: str, **options: object) -> Service:
    return Service(name, ["/bin/sh", "-c", script], {"PATH": os.defpath}, **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_in(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"a line in {path}")
    return int(path.read_text())


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Supervisor]]:
    started: list[Supervisor] = []

    def start(*services: Service, **options: Any) -> Supervisor:
        options = {"data_dir": tmp_path, "announce": said.append, "ask_seconds": 0.05, **options}
        started.append(Supervisor(services, **options))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@contextmanager
def watched(one: Supervisor) -> Iterator[None]:
    thread = threading.Thread(target=one.watch)
    thread.start()
    try:
        yield
    finally:
        one.stopping.set()
        thread.join()


def test_a_service_starts_when_what_it_needs_is_ready(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    run(
        shell("second", f"test -e {ready} && touch {ready}-seen; exec sleep 60", needs=["first"]),
        shell("first", f"sleep 0.2; touch {ready}; exec sleep 60", is_ready=ready.exists),
    )
    wait_until((tmp_path / "ready-seen").exists, "the second started after the first")


def test_a_task_is_ready_when_it_has_ended(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    done = tmp_path / "done"
    run(
        shell("task", f"sleep 0.2; touch {done}", is_task=True),
        shell("after", f"test -e {done} && touch {done}-seen; exec sleep 60", needs=["task"]),
    )
    wait_until((tmp_path / "done-seen").exists, "the service started after the task")


def test_prepare_comes_before_the_process(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    made = tmp_path / "made"
    run(shell("one", f"test -e {made}", prepare=made.touch, is_task=True))


def test_output_goes_to_a_log_of_its_own(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    run(shell("talker", "echo hello; echo trouble >&2", is_task=True))
    assert (tmp_path / "logs/talker.log").read_text() == "hello\ntrouble\n"


def test_a_log_that_has_grown_is_put_aside(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/talker.log").write_text("many old lines\n")
    run(shell("talker", "echo new", is_task=True), max_log_bytes=10)
    assert (tmp_path / "logs/talker.log").read_text() == "new\n"
    assert (tmp_path / "logs/talker.log.old").read_text() == "many old lines\n"


def test_a_log_that_grows_while_its_process_runs_is_put_aside(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log, go_on = tmp_path / "logs/talker.log", tmp_path / "go-on"
    script = f"echo many old lines; until test -e {go_on}; do sleep 0.05; done; echo new"
    one = run(shell("talker", f"{script}; exec sleep 60"), max_log_bytes=10)
    with watched(one):
        wait_until(
            lambda: log.with_suffix(".log.old").exists() and log.stat().st_size == 0,
            "the log is put aside",
        )
        go_on.touch()
        wait_until(lambda: log.read_text() == "new\n", "a line in the new log")
    assert log.with_suffix(".log.old").read_text() == "many old lines\n"


def test_a_process_that_ends_at_once_is_named_with_the_end_of_its_log(
    run: Callable[..., Supervisor],
) -> None:
    with pytest.raises(PermanentError, match=r"(?s)broken ended with code 3.*no such table"):
        run(shell("broken", "echo no such table; exit 3", is_ready=lambda: False))


def test_a_process_that_is_not_ready_in_time_is_named(run: Callable[..., Supervisor]) -> None:
    slow = shell("slow", "exec sleep 60", is_ready=lambda: False, start_seconds=0.2)
    with pytest.raises(TransientError, match=r"slow was not ready in 0\.2 s"):
        run(slow)


def test_a_taken_port_is_named_with_its_setting_before_anything_starts(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first = shell("first", f"touch {tmp_path}/started")
        second = shell("web", "exec sleep 60", port=port, port_setting="WEB_PORT")
        with pytest.raises(PermanentError, match=rf"Port {port} of web .* set WEB_PORT") as caught:
            run(first, second)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "started").exists()


def test_a_port_with_old_connections_can_be_taken(
    run: Callable[..., Supervisor],
) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the server's side waits in TIME_WAIT
        client.close()
    run(shell("web", "exec sleep 60", port=port, port_setting="WEB_PORT"))


def test_what_crashes_is_started_again_and_said_in_one_line(
    run: Callable[..., Supervisor], tmp_path: Path, said: list[str]
) -> None:
    pid = tmp_path / "pid"
    one = run(shell("web", f"echo $$ > {pid}; exec sleep 60"))
    first = pid_in(pid)
    with watched(one):
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pid_in(pid) != first, "a new process")
    assert is_alive(pid_in(pid))
    (line,) = said
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d web ended with code -9; starting it again in 0.5 s .*", line
    )
    assert f"(log: {tmp_path / 'logs' / 'web.log'})" in line


def test_what_keeps_crashing_is_started_ever_more_rarely(
    run: Callable[..., Supervisor], said: list[str]
) -> None:
    crashing = shell("web", "sleep 0.2; exit 1")
    with watched(run(crashing, backoff_seconds=(0.01, 0.02, 0.04))):
        wait_until(lambda: len(said) >= 4, "four lines")
    delays = [line.split("again in ")[1].split(" s")[0] for line in said[:4]]
    assert delays == ["0.01", "0.02", "0.04", "0.04"]


def test_a_child_of_a_crashed_process_does_not_keep_its_port(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pid, child = tmp_path / "pid", tmp_path / "child"
    one = run(shell("web", f"echo $$ > {pid}; sleep 60 & echo $! > {child}; wait"))
    first, orphan = pid_in(pid), pid_in(child)
    with watched(one):
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pid_in(pid) != first, "a new process")
    assert not is_alive(orphan)


def test_a_restart_that_fails_is_tried_later_and_leaves_the_others_alone(
    run: Callable[..., Supervisor], tmp_path: Path, said: list[str]
) -> None:
    def prepare() -> None:
        if (tmp_path / "broken").exists():
            raise PermanentError("no disk")

    pid = tmp_path / "pid"
    one = run(shell("web", f"echo $$ > {pid}; exec sleep 60", prepare=prepare))
    (tmp_path / "broken").touch()
    with watched(one):
        os.kill(pid_in(pid), signal.SIGKILL)
        wait_until(
            lambda: any("web cannot be started: no disk" in line for line in said),
            "the failed start is logged",
        )
        assert not one.stopping.is_set()


def test_stop_ends_every_process_also_those_in_groups_of_their_own(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    script = f"setsid sh -c 'echo $$ > {inner}; exec sleep 60' & echo $$ > {outer}; wait"
    one = run(shell("trainer", script))
    pids = [pid_in(inner), pid_in(outer)]
    one.stop()
    assert not any(is_alive(pid) for pid in pids)


def test_what_ignores_the_signal_is_killed(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done"
    one = run(shell("deaf", script, stop_seconds=0.2))
    deaf = pid_in(pid)
    one.stop()
    assert not is_alive(deaf)


def test_a_server_stops_after_those_that_use_it(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    script = "trap 'echo {name} >> {order}; exit' TERM; touch {order}-{name}; sleep 60 & wait"
    one = run(
        shell("database", script.format(name="database", order=order), stops_last=True),
        shell("web", script.format(name="web", order=order)),
    )
    for name in ("database", "web"):
        wait_until(Path(f"{order}-{name}").exists, f"{name} has started")
    one.stop()
    assert order.read_text().split() == ["web", "database"]


def test_what_a_process_left_has_the_servers_until_it_has_ended(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    order, run_pid = tmp_path / "order", tmp_path / "run"
    dagster_run = f"trap 'sleep 0.2; echo run >> {order}; exit' TERM; echo $$ > {run_pid}; "
    dagster_run += "while :; do sleep 0.05; done"
    server = f"trap 'echo server >> {order}; exit' TERM; while :; do sleep 0.05; done"
    one = run(
        shell("server", server, stops_last=True),
        shell("launcher", f"setsid sh -c {shlex.quote(dagster_run)}"),
    )
    pid_in(run_pid)
    one.stop()
    assert order.read_text().split() == ["run", "server"]


def start_and_kill_a_supervisor(folder: Path, script: str) -> None:
    program = f"""
import os, signal
from pathlib import Path
from influencerai_dagster.local.supervisor import Service, Supervisor
service = Service("web", ["/bin/sh", "-c", {script!r}], {{"PATH": os.defpath}})
Supervisor([service], data_dir=Path({str(folder)!r}), announce=print).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pid, inner = tmp_path / "pid", tmp_path / "inner"
    script = f"setsid sh -c 'echo $$ > {inner}; exec sleep 60' & echo $$ > {pid}; wait"
    start_and_kill_a_supervisor(tmp_path, script)
    left = [pid_in(pid), pid_in(inner)]
    assert all(is_alive(one) for one in left)
    run(shell("web", "exec sleep 60"))
    assert not any(is_alive(one) for one in left)


def test_a_stranger_with_the_process_id_of_a_leftover_is_left_alone(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        record = {"stack_id": "old", "supervisor_pid": 1, "started": {str(stranger.pid): 1.0}}
        (tmp_path / "stack-processes.json").write_text(json.dumps(record))
        run(shell("web", "exec sleep 60"))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_second_start_in_the_same_folder_is_refused(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    run(shell("web", f"echo $$ > {pid}; exec sleep 60"))
    with pytest.raises(PermanentError, match=rf"runs in .* already \(process {os.getpid()}\)"):
        run(shell("web", "exec sleep 60"))
    assert is_alive(pid_in(pid))


@pytest.mark.parametrize("text", ["", "{", "[]"], ids=["empty", "cut off", "another form"])
def test_a_record_that_cannot_be_read_is_no_obstacle(
    run: Callable[..., Supervisor], tmp_path: Path, text: str
) -> None:
    (tmp_path / "stack-processes.json").write_text(text)
    run(shell("web", "exec sleep 60"))


def test_nothing_is_left_on_disk_but_logs_and_the_lock(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    run(shell("web", "exec sleep 60")).stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "stack.lock"]


def test_of_several_that_start_at_the_same_moment_one_gets_the_folder(tmp_path: Path) -> None:
    barrier = threading.Barrier(4, timeout=DEADLINE_SECONDS)

    def start(_: int) -> Supervisor | str:
        service = shell("web", "exec sleep 60", prepare=lambda: time.sleep(0.1))
        one = Supervisor([service], data_dir=tmp_path, announce=print)
        barrier.wait()
        try:
            one.start()
        except PermanentError as error:
            one.stop()
            return str(error)
        return one

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(start, range(4)))
    (winner,) = [item for item in outcomes if isinstance(item, Supervisor)]
    refusals = [item for item in outcomes if isinstance(item, str)]
    assert len(refusals) == 3
    assert all("already" in text for text in refusals)
    assert (tmp_path / "stack-processes.json").exists(), "a loser removed the winner's record"
    winner.stop()


def test_a_port_that_was_taken_after_the_first_look_is_named_with_its_setting(
    run: Callable[..., Supervisor],
) -> None:
    port = free_port()
    with socket.socket() as taken:

        def take() -> None:
            taken.bind(("127.0.0.1", port))
            taken.listen()

        web = shell("web", "exit 1", port=port, port_setting="WEB_PORT", prepare=take)
        web = replace(web, is_ready=lambda: False)
        with pytest.raises(PermanentError, match=rf"Port {port} of web .* set WEB_PORT"):
            run(web)


def beating(name: str, folder: Path, **options: Any) -> Service:
    """A service that shows that it lives, unless it is frozen."""
    pid, beat = folder / f"{name}-pid", folder / f"{name}-beat"
    script = f"echo $$ > {pid}; while :; do touch {beat}; sleep 0.02; done"

    def is_alive() -> bool:
        return beat.exists() and time.time() - beat.stat().st_mtime < 0.5

    return shell(name, script, is_alive=is_alive, alive_seconds=1.0, stop_seconds=0.1, **options)


def test_a_frozen_service_is_ended_and_started_again(
    run: Callable[..., Supervisor], tmp_path: Path, said: list[str]
) -> None:
    one = run(beating("web", tmp_path))
    frozen = pid_in(tmp_path / "web-pid")
    with watched(one):
        os.kill(frozen, signal.SIGSTOP)
        wait_until(lambda: pid_in(tmp_path / "web-pid") != frozen, "a new process")
    assert any("web has not answered for 1 s and is ended" in line for line in said)
    assert not is_alive(frozen)


def test_a_service_that_answers_is_let_be(
    run: Callable[..., Supervisor], tmp_path: Path, said: list[str]
) -> None:
    one = run(beating("web", tmp_path), beating("other", tmp_path))
    steady, other = pid_in(tmp_path / "web-pid"), pid_in(tmp_path / "other-pid")
    with watched(one):
        os.kill(other, signal.SIGSTOP)
        wait_until(lambda: pid_in(tmp_path / "other-pid") != other, "a new process")
    assert pid_in(tmp_path / "web-pid") == steady
    assert not any(" web " in line for line in said)


def test_a_question_that_hangs_holds_up_no_other_service(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    hangs = threading.Event()
    stuck = shell("stuck", "exec sleep 60", is_alive=hangs.wait, alive_seconds=60.0)
    one = run(stuck, beating("web", tmp_path))
    frozen = pid_in(tmp_path / "web-pid")
    with watched(one):
        os.kill(frozen, signal.SIGSTOP)
        wait_until(lambda: pid_in(tmp_path / "web-pid") != frozen, "a new process")
    hangs.set()


def test_what_a_service_leaves_on_purpose_goes_on_until_the_stack_stops(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pid, run_pid = tmp_path / "pid", tmp_path / "run"
    script = f"echo $$ > {pid}; test -e {run_pid} || {{ sleep 60 & echo $! > {run_pid}; }}; wait; "
    one = run(shell("code-server", f"{script} exec sleep 60", leaves_children=True))
    first, dagster_run = pid_in(pid), pid_in(run_pid)
    with watched(one):
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pid_in(pid) != first, "a new process")
    assert is_alive(dagster_run)
    one.stop()
    assert not is_alive(dagster_run)


def test_what_is_left_on_purpose_is_asked_to_end_and_not_killed(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    run_pid, said_why = tmp_path / "run", tmp_path / "why"
    dagster_run = f"trap 'echo stopped > {said_why}; exit' TERM; echo $$ > {run_pid}; "
    dagster_run += "while :; do sleep 0.05; done"
    script = f"sh -c {shlex.quote(dagster_run)} & trap '' TERM; while :; do sleep 0.05; done"
    one = run(shell("code-server", script, leaves_children=True, stop_seconds=0.1))
    pid_in(run_pid)
    one.stop()
    assert said_why.read_text() == "stopped\n"


def test_crashes_are_written_down_with_their_time(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    one = run(shell("web", f"echo $$ > {pid}; exec sleep 60"))
    with watched(one):
        os.kill(pid_in(pid), signal.SIGKILL)
        log = tmp_path / "logs/supervisor.log"
        wait_until(lambda: log.exists() and log.read_text(), "a line in the log")
    (line,) = log.read_text().splitlines()
    stamp, _, text = line.partition(" ")
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert text.startswith("web ended with code -9; starting it again in 0.5 s")
