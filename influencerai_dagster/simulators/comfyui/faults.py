"""Hold the faults that are set, and count what was really executed.

`POST /simulator/faults` sets fields of `Faults` by name and answers with all of them; an empty
object changes nothing. `{"reset": true}` puts the values of the start back first. Counted faults
(`fail_next`, `lose_outputs_next`, …) count down to 0; switches stay until they are turned off.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TextIO


@dataclass
class Faults:
    """Switches and counters; read by the worker thread and the event loop.

    Attributes:
        seconds_per_step: how long one sampler step takes.
        load_seconds: how long a checkpoint takes to load; a change counts for one that loads, too.
        fail_rate: 0 to 1, the share of prompts that fail, chosen by a hash of their prompt_id.
        fail_next: how many of the next prompts fail.
        fail_node: class of the node that fails.
        fail_type: exception class name of the failure as history shows it.
        fail_message: its text.
        lose_outputs_next: delete the files of this many next save nodes right after saving.
        history_lag_seconds: time between execution_success and the history entry.
        hang_worker: the worker executes nothing more, HTTP keeps accepting.
        silent: sockets stay open and get no message.
        answer_delay_seconds: wait before every HTTP answer.
        http_status_next: how many of the next requests to `http_path` get `http_status`, unhandled.
        http_status: that status code.
        http_path: the path that http_status_next and drop_answers_next mean.
        drop_answers_next: handle this many requests to `http_path`, then cut the connection.
        drop_sockets: cut all WebSockets now, without a close frame.
        refuse_connections_seconds: cut everything now and listen again after this time.
        crash_after_prompts: end the process when this many prompts have started, 0 for never.
        crash_now: end the process now, without an answer.
    """

    seconds_per_step: float = 0.02
    load_seconds: float = 0.0
    fail_rate: float = 0.0
    fail_next: int = 0
    fail_node: str = "KSampler"
    fail_type: str = "torch.OutOfMemoryError"
    fail_message: str = "Allocation on device (SIMULATED fault)"
    lose_outputs_next: int = 0
    history_lag_seconds: float = 0.0
    hang_worker: bool = False
    silent: bool = False
    answer_delay_seconds: float = 0.0
    http_status_next: int = 0
    http_status: int = 503
    http_path: str = "/prompt"
    drop_answers_next: int = 0
    drop_sockets: bool = False
    refuse_connections_seconds: float = 0.0
    crash_after_prompts: int = 0
    crash_now: bool = False

    def change(self, values: dict[str, Any]) -> None:
        """Set fields by name.

        Raises:
            ValueError: names a field that does not exist or a value of another type; nothing is
                changed then.
        """
        known = {item.name: type(getattr(self, item.name)) for item in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"no fault is called {name!r}; there are {', '.join(known)}")
            kind = known[name]
            right = (int, float) if kind is float else (kind,)
            if not isinstance(value, right) or (isinstance(value, bool) and kind is not bool):
                raise ValueError(f"{name} is a {kind.__name__}, got {value!r}")
            checked[name] = kind(value)
        for name, value in checked.items():
            setattr(self, name, value)

    def take(self, counter: str) -> bool:
        """Count a counted fault down; tells whether it was due."""
        left = getattr(self, counter)
        if left > 0:
            setattr(self, counter, left - 1)
        return bool(left > 0)

    def dooms(self, prompt_id: str) -> bool:
        """Tell whether this prompt has to fail; counts fail_next down."""
        share = int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:4]) / 2**32
        return self.take("fail_next") or share < self.fail_rate

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


@dataclass
class Statistics:
    """How often each prompt was posted, executed and rendered since the start.

    A prompt is executed when the worker took it; rendered when a sampler really ran for it, which a
    prompt answered from cache does not.

    Attributes:
        journal: gets one JSON line `{"time", "event", "prompt_id", "outcome"}` for everything that
            happens to a prompt (posted, executed, rendered, lost, finished), written before the
            next thing happens: what was told survives a SIGKILL of this process.
    """

    journal: TextIO | None = None

    posted: Counter[str] = field(default_factory=Counter)
    executed: Counter[str] = field(default_factory=Counter)
    rendered: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    free_requests: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, prompt_id: str) -> None:
        """Count one posted, executed or rendered prompt."""
        with self.lock:
            getattr(self, what)[prompt_id] += 1
            if what == "executed":
                self.order.append(prompt_id)
        self.note(what, prompt_id)

    def note(self, event: str, prompt_id: str = "", outcome: str | None = None) -> None:
        """Write one line into the journal, if there is one."""
        if self.journal is None:
            return
        line = {"time": time.time(), "event": event, "prompt_id": prompt_id, "outcome": outcome}
        with self.lock:
            self.journal.write(json.dumps(line) + "\n")
            self.journal.flush()

    def as_dict(self) -> dict[str, Any]:
        """Return `{prompts: {id: {posted, executed, rendered, outcome}}, order, …}`."""
        with self.lock:
            return {
                "prompts": {
                    prompt_id: {
                        "posted": self.posted[prompt_id],
                        "executed": self.executed[prompt_id],
                        "rendered": self.rendered[prompt_id],
                        "outcome": self.outcomes.get(prompt_id),
                    }
                    for prompt_id in self.posted
                },
                "order": list(self.order),
                "free_requests": self.free_requests,
                "connections": self.connections,
            }
