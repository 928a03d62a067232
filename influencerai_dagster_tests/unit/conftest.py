"""Unit tests need no server: a test that starts a program or leaves this machine fails."""

import sys
import threading
from collections.abc import Iterator

import pytest

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_OF_SUBPROCESS = {"subprocess.Popen", "os.posix_spawn"}  # since 3.13 one is started by the other
_STARTS = _OF_SUBPROCESS | {"os.exec", "os.fork", "os.forkpty", "os.system"}


class _Guard:
    """Refuses, by Python's audit events, what a unit test must not do.

    Attributes:
        is_on: while a unit test runs; an audit hook cannot be removed.
        others: threads that an integration test of the same process started, whose servers live on.
    """

    is_on = False
    others: frozenset[int] = frozenset()

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on or threading.get_ident() in self.others:
            return
        if event in _STARTS and not (event in _OF_SUBPROCESS and arguments[0] == sys.executable):
            pytest.fail(f"a unit test starts a program: {arguments}")
        address = arguments[1] if event == "socket.connect" else None
        if isinstance(address, tuple) and address[0] not in _LOOPBACK:
            pytest.fail(f"a unit test connects to {address}")


_guard = _Guard()
sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def _guarded(request: pytest.FixtureRequest) -> Iterator[None]:
    assert "servers_dir" not in request.fixturenames, "a unit test asks for a server"
    here = threading.get_ident()
    alive = (thread.ident for thread in threading.enumerate())
    _guard.others = frozenset(ident for ident in alive if ident is not None) - {here}
    _guard.is_on = True
    yield
    _guard.is_on = False
