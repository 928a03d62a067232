"""The budget holds over threads and processes, and the memory of a killed process is free again."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.media.memory_budget import MemoryBudget

Holder = Callable[[int], tuple[multiprocessing.context.SpawnProcess, Connection]]
SPAWN = multiprocessing.get_context("spawn")


def budget(folder: Path) -> MemoryBudget:
    """Ten bytes in slots of one."""
    return MemoryBudget("test", 10, slot_bytes=1, folder=folder)


def hold_until_told(folder: Path, size_bytes: int, pipe: Connection) -> None:
    with budget(folder).hold(size_bytes):
        pipe.send("held")
        pipe.recv()


@pytest.fixture
def holder(
    tmp_path: Path,
) -> Holder:
    """Start a process that holds so many bytes until it is told, or killed."""

    def start(size_bytes: int) -> tuple[multiprocessing.context.SpawnProcess, Connection]:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=hold_until_told, args=(tmp_path, size_bytes, theirs))
        process.daemon = True
        process.start()
        assert ours.recv() == "held"
        return process, ours

    return start


def test_threads_never_hold_more_than_the_budget(tmp_path: Path) -> None:
    shared, held, lock = budget(tmp_path), [0], threading.Lock()
    most = [0]

    def work(size_bytes: int) -> None:
        with shared.hold(size_bytes):
            with lock:
                held[0] += size_bytes
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= size_bytes

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, [1, 3, 10, 7, 2, 5] * 30))
    assert held == [0]
    assert 0 < most[0] <= 10


def test_more_than_the_whole_budget_counts_as_all_of_it(tmp_path: Path) -> None:
    with budget(tmp_path).hold(1000):
        pass


@pytest.mark.parametrize("end", ["told", "killed"])
def test_what_another_process_holds_is_free_when_it_ends(
    tmp_path: Path,
    holder: Holder,
    end: str,
) -> None:
    process, pipe = holder(8)
    got = threading.Event()

    def wait_for_five() -> None:
        with budget(tmp_path).hold(5):
            got.set()

    with budget(tmp_path).hold(2):
        pass  # it fits beside
    waiter = threading.Thread(target=wait_for_five)
    waiter.start()
    assert not got.wait(0.2), "5 do not fit beside 8 of 10"
    if end == "killed":
        os.kill(int(process.pid or 0), signal.SIGKILL)
    else:
        pipe.send("done")
    assert got.wait(30)
    waiter.join()
    process.join()


def test_a_large_request_is_not_passed_by_small_ones(tmp_path: Path) -> None:
    order: list[str] = []
    shared = budget(tmp_path)

    def want(size_bytes: int, name: str) -> None:
        with shared.hold(size_bytes):
            order.append(name)

    with shared.hold(1):
        large = threading.Thread(target=want, args=(10, "large"))
        large.start()
        large.join(0.2)  # it waits at the gate
        small = threading.Thread(target=want, args=(1, "small"))
        small.start()
        small.join(0.2)
        assert order == []
    large.join()
    small.join()
    assert order == ["large", "small"]


def test_locks_that_cannot_be_written_say_nothing_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(b"")
    with (
        pytest.raises(TransientError, match=r"memory for test cannot be written.*set TMPDIR"),
        budget(tmp_path / "full").hold(1),
    ):
        pass


def test_the_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with (
        pytest.raises(PermanentError, match=r"belongs to another user.*set TMPDIR"),
        budget(tmp_path).hold(1),
    ):
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another user")
def test_a_link_that_another_user_left_is_not_followed(tmp_path: Path) -> None:
    own, link = tmp_path / "own", tmp_path / f"influencerai-memory-{os.getuid()}-test"
    own.mkdir()
    link.symlink_to(own)
    os.lchown(link, 54321, 54321)
    with (
        pytest.raises(PermanentError, match="belongs to another user"),
        budget(tmp_path).hold(1),
    ):
        pass
    assert list(own.iterdir()) == []
