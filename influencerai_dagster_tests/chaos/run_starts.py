"""Starts of runs while their processes, fork server, code server and daemon are killed and frozen.

`python -m influencerai_dagster_tests.chaos.run_starts --runs 200` is the long form. The stack is
that of `make up`, with definitions of one job: its op writes down that it was executed, holds a
slot of a pool and sleeps for a moment.
"""

import argparse
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from rich.console import Console

from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import REPOSITORY, DagsterGraphQL
from influencerai_dagster.dagster_client.queries import LAUNCH
from influencerai_dagster.local.stack import Stack, run_stack
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder
from influencerai_dagster.settings import Settings, load_settings
from influencerai_dagster_tests.testing.database_server import execute
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

SEEDS = 2**32
END_SECONDS = 420.0
"""For the last run to end: one that was killed while it was starting takes 180 s."""
_LAUNCHES_AT_ONCE = 20
_PORTS = (
    *("dagster_webserver_port", "local_postgres_port", "local_s3_port", "local_comfyui_port"),
    *("local_openrouter_port", "local_code_server_port", "port"),
)
_DEFINITIONS = """
import random
import time
from pathlib import Path

import dagster as dg

@dg.op(pool="image_generation", config_schema={"executed": str})
def write_and_sleep(context):
    with Path(context.op_config["executed"]).open("a") as file:
        file.write(context.run_id + "\\n")
    time.sleep(random.uniform(0.0, 1.0))

@dg.job(executor_def=dg.in_process_executor, tags={"dagster/max_retries": "0"})
def short_job():
    write_and_sleep()

defs = dg.Definitions(jobs=[short_job])
"""
_COUNT = "SELECT status, count(*) FROM runs GROUP BY status"
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass
class Outcome:
    """What happened.

    Attributes:
        killed: runs whose processes were killed or stopped on purpose.
        statuses: run id → status in Dagster.
        executed: run id of every execution of the op.
        leftovers: descriptions of zombies, processes of runs, and pool slots that are held.
    """

    faults: Counter[str] = field(default_factory=Counter)
    killed: set[str] = field(default_factory=set)
    statuses: dict[str, str] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def violations(self) -> list[str]:
        """Return what should not have happened."""
        twice = [run_id for run_id, count in Counter(self.executed).items() if count > 1]
        executed = set(self.executed)
        return [
            *(f"run {run_id} was executed more than once" for run_id in twice),
            *(
                f"run {run_id} is {status}, and nobody killed it"
                for run_id, status in self.statuses.items()
                if status != "SUCCESS" and run_id not in self.killed
            ),
            *(
                f"run {run_id} is SUCCESS and was not executed"
                for run_id, status in self.statuses.items()
                if status == "SUCCESS" and run_id not in executed
            ),
            *self.leftovers,
        ]


class RunStarts:
    """Launches runs on a running stack and breaks its processes."""

    def __init__(self, stack: Stack, folder: Path, seed: int) -> None:
        """Make it; nothing is launched yet."""
        self.outcome = Outcome()
        self._stack = stack
        self._executed = folder / "executed"
        self._executed.touch()
        self._folder = RunFolder.below(Path(stack.environment["DAGSTER_HOME"]))
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._is_over = threading.Event()
        self._faults: dict[str, Callable[[], None]] = {
            "kill the fork server": lambda: self._signal(self._fork_server(), signal.SIGKILL),
            "freeze the fork server": lambda: self._freeze(self._fork_server()),
            "kill the code server": lambda: self._signal(self._code_server(), signal.SIGKILL),
            "kill the daemon": lambda: self._signal(self._daemon(), signal.SIGKILL),
            "kill a run": lambda: self._signal_run(signal.SIGKILL),
            "stop a run": lambda: self._signal_run(signal.SIGSTOP),
        }

    def run(self, num_runs: int, num_faults: int) -> None:
        """Launch runs, break processes meanwhile, and look at what is left."""
        started = time.monotonic()
        moments = sorted(self._random.randrange(num_runs) for _ in range(num_faults))
        run_ids: list[str] = []
        breaking = threading.Thread(target=self._break, args=[moments, run_ids])
        breaking.start()
        try:
            for _ in range(num_runs):
                wait_until(
                    lambda: self._num_alive() < _LAUNCHES_AT_ONCE,
                    "a run ended",
                    timeout_seconds=240,
                )
                run_ids.append(self._launch())
            breaking.join()
        finally:
            self._is_over.set()
        wait_until(lambda: self._num_alive() == 0, "all runs ended", timeout_seconds=END_SECONDS)
        self.outcome.seconds = time.monotonic() - started
        self._inspect(run_ids)

    def _break(self, moments: Sequence[int], launched: Sequence[str]) -> None:
        """Cause each kind of fault in turn, in a random order.

        Args:
            moments: for each fault, how many runs are launched before it.
            launched: grows with every launch.
        """
        left: list[str] = []
        for moment in moments:
            left = left or self._random.sample(sorted(self._faults), len(self._faults))
            while len(launched) <= moment and not self._is_over.is_set():
                time.sleep(0.05)
            time.sleep(self._random.uniform(0.0, 2.0))
            self._cause(left.pop())

    def _cause(self, name: str) -> None:
        """Cause a fault as soon as there is a process for it."""
        while not self._is_over.wait(0.05):
            with suppress(psutil.NoSuchProcess, LookupError):
                self._faults[name]()
                self.outcome.faults[name] += 1
                return

    def _launch(self) -> str:
        config = {"ops": {"write_and_sleep": {"config": {"executed": str(self._executed)}}}}
        selector = {
            "repositoryLocationName": CODE_LOCATION,
            "repositoryName": REPOSITORY,
            "jobName": "short_job",
        }
        body = {
            "query": LAUNCH,
            "variables": {"params": {"selector": selector, "runConfigData": config}},
        }

        def launched() -> str | None:
            with suppress(httpx.TransportError):
                url = f"{self._stack.dagster_url}/graphql"
                answer = httpx.post(url, json=body, timeout=60, trust_env=False)
                result = (answer.json().get("data") or {}).get("launchRun") or {}
                if "run" in result:
                    return str(result["run"]["runId"])
            time.sleep(0.5)  # the code server starts again
            return None

        return str(wait_until(launched, "a run is launched", timeout_seconds=240))

    def _query(self, statement: str) -> Sequence[tuple[object, ...]]:
        return execute(self._stack.environment["DAGSTER_DATABASE_URL"], statement)

    def _num_alive(self) -> int:
        return sum(int(str(n)) for status, n in self._query(_COUNT) if status not in _ENDED)

    def _inspect(self, run_ids: Sequence[str]) -> None:
        found = {row[0]: row[1] for row in self._query("SELECT run_id, status FROM runs")}
        self.outcome.statuses = {run_id: str(found.get(run_id)) for run_id in run_ids}
        self.outcome.executed = self._executed.read_text().split()
        wait_until(self._has_no_leftovers, "processes and slots are free", timeout_seconds=60)

    def _has_no_leftovers(self) -> bool:
        slots = self._query(
            "SELECT run_id FROM pending_steps UNION "
            "SELECT run_id FROM concurrency_slots WHERE run_id IS NOT NULL"
        )
        self.outcome.leftovers = [
            *(
                f"process {record.process.pid} of run {record.run_id} is alive"
                for record in self._folder.records()
                if record.is_alive
            ),
            *(f"process {zombie.pid} is a zombie" for zombie in self._zombies()),
            *(f"run {run_id} holds a pool slot" for (run_id,) in slots),
        ]
        return not self.outcome.leftovers

    def _zombies(self) -> Iterator[psutil.Process]:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    yield process

    def _children(self, parent: psutil.Process, *words: str) -> list[psutil.Process]:
        return [child for child in parent.children() if set(words) <= set(child.cmdline())]

    def _fork_server(self) -> psutil.Process:
        return self._children(psutil.Process(), "api", "grpc")[0]

    def _code_server(self) -> psutil.Process:
        port = self._stack.settings.local.code_server_port
        listening = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.pid
            and connection.status == psutil.CONN_LISTEN
            and connection.laddr[1:] == (port,)
        ]
        return psutil.Process(listening[0])

    def _daemon(self) -> psutil.Process:
        return self._children(psutil.Process(), "dagster-daemon")[0]

    def _signal(self, process: psutil.Process, number: signal.Signals) -> None:
        process.send_signal(number)

    def _freeze(self, process: psutil.Process) -> None:
        process.suspend()
        time.sleep(self._random.uniform(0.5, 5.0))
        process.resume()

    def _signal_run(self, number: signal.Signals) -> None:
        alive = [record for record in self._folder.records() if record.is_alive]
        chosen = self._random.choice(alive)
        process = chosen.process.find()
        if process is not None:
            self.outcome.killed.add(chosen.run_id)
            process.send_signal(number)


def run_chaos(folder: Path, seed: int, *, num_runs: int, num_faults: int) -> Outcome:
    """Start a stack in a folder and return what happened to its runs."""
    (folder / "short_definitions.py").write_text(_DEFINITIONS)
    ports = {name: free_port() for name in _PORTS}
    settings: Settings = load_settings((), data_dir=folder / "data", **ports)
    stack = Stack(
        settings, location_problem=_location_problem, definitions_module="short_definitions"
    )
    stack.environment["PYTHONPATH"] = str(folder)
    outcomes = []

    def ready() -> None:
        starts = RunStarts(stack, folder, seed)
        outcomes.append(starts.outcome)
        starts.run(num_runs, num_faults)

    run_stack(stack, ready, announce=Console(stderr=True).print, stays_up=False)
    return outcomes[0]


def _location_problem(url: str) -> str | None:
    with closing(DagsterGraphQL(url, CODE_LOCATION)) as dagster:
        return dagster.location_problem()


def main() -> None:
    """Print what happened; exit code 1 if something happened that should not."""
    console = Console(highlight=False, markup=False)
    parser = argparse.ArgumentParser(prog="run_starts", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, help="of the order and times of faults")
    arguments = parser.parse_args()
    seed = secrets.randbelow(SEEDS) if arguments.seed is None else arguments.seed
    console.print(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="influencerai-run-starts-"))
    outcome = run_chaos(folder, seed, num_runs=arguments.runs, num_faults=arguments.faults)
    statuses = Counter(outcome.statuses.values())
    console.print(f"{len(outcome.statuses)} runs in {outcome.seconds:.0f} s: {dict(statuses)}")
    console.print(f"faults: {dict(outcome.faults)}, {len(outcome.killed)} runs killed or stopped")
    violations = outcome.violations()
    console.print(
        "\n".join(
            [*violations, f"logs and data: {folder}"] if violations else ["all as it should be"]
        )
    )
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
