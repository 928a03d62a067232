"""A fork server whose runs are small programs: started as `python -m …fork_server FOLDER ID`.

Its code server does nothing. `reports` in the folder gets a line for every run that it reports.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.run_launcher.protocol import Reply, Request, ask
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder
from influencerai_dagster.orchestration.run_launcher.server import ForkServer
from influencerai_dagster_tests.testing.waiting import wait_until

SERVER_ID = "code-server-1"
ANSWER_SECONDS = 20.0
KILL_SECONDS = 1.0
STOPPED_SECONDS = 0.5


class RunningForkServer:
    """A fork server as a process, and its folder."""

    def __init__(self, path: Path, *options: str, server_id: str = SERVER_ID) -> None:
        """Start it; `options` are those of `main`."""
        self.folder = RunFolder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.log = path.with_name(f"log-{uuid4()}")
        with self.log.open("w") as log:
            command = [sys.executable, "-m", __name__, str(path), server_id, *options]
            self.process = subprocess.Popen(command, stderr=log)

    def wait_until_ready(self) -> "RunningForkServer":
        """Wait until it answers."""
        wait_until(self.answers, "the fork server")
        return self

    def answers(self) -> bool:
        """Whether it answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            self.ask(Request(action="describe"))
        except (TransientError, FileNotFoundError):
            return False
        return True

    def ask(self, request: Request, *, timeout_seconds: float = ANSWER_SECONDS) -> Reply:
        """Ask it as a launcher does."""
        return ask(self.folder.path, request, timeout_seconds=timeout_seconds)

    def launch(self, run_id: str, *arguments: str) -> Reply:
        """Request a run and launch it."""
        self.folder.request(run_id)
        return self.ask(launch_request(run_id, *arguments))

    def reports(self) -> list[str]:
        """The runs that it has reported, each with its exit code."""
        path = self.folder.path / "reports"
        return path.read_text().splitlines() if path.exists() else []

    def code_server_pid(self) -> int:
        """The process id of its code server."""
        path = self.folder.path / "code_server"
        wait_until(lambda: path.exists() and path.read_text(), "the code server")
        return int(path.read_text())

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self.process.kill()
        self.process.wait()


def launch_request(run_id: str, *arguments: str, server_id: str = SERVER_ID) -> Request:
    """Return the request of a launcher."""
    return Request(action="launch", run_id=run_id, code_server_id=server_id, arguments=arguments)


def run_program(arguments: Sequence[str]) -> None:
    """Execute a run of a test: `sleep SECONDS`, `exit CODE`, `ignore-term` or `files FILE`."""
    name, *values = arguments
    if name == "ignore-term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if name == "sleep":
        time.sleep(float(values[0]))
    if name == "files":
        links = [
            str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()
        ]
        Path(values[0]).write_text("\n".join(links))
    if name == "exit":
        sys.exit(int(values[0]))


def main() -> None:
    """Serve a folder; `--thread` has a second thread, `--full-disk` lets no file be written."""
    path, server_id, *options = sys.argv[1:]
    folder = Path(path)
    if "--thread" in options:
        threading.Thread(target=time.sleep, args=[60], daemon=True).start()

    def serve_code() -> None:
        (folder / "code_server").write_text(str(os.getpid()))
        time.sleep(60)

    def report(ends: Mapping[str, int | None]) -> None:
        with (folder / "reports").open("a") as file:
            file.writelines(f"{run_id} {exit_code}\n" for run_id, exit_code in ends.items())

    server = ForkServer(
        RunFolder(folder),
        code_server_id=server_id,
        run_code_server=serve_code,
        run_program=run_program,
        report_ends=report,
        kill_seconds=KILL_SECONDS,
        stopped_seconds=STOPPED_SECONDS,
    )
    if "--full-disk" in options:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    sys.exit(server.serve())


if __name__ == "__main__":
    main()
