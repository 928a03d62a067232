"""Start the ComfyUI simulator as a real process on a free port of the loopback interface."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from influencerai_dagster_tests.testing.waiting import wait_until

START_SECONDS = 20.0
# Model files without weights that the shipped workflow templates ask for.
PLACEHOLDERS = (
    "checkpoints/v1-5-pruned-emaonly-fp16.safetensors=stable-diffusion-v1",
    "checkpoints/sd_xl_base_1.0.safetensors=stable-diffusion-xl-v1-base",
    "upscale_models/RealESRGAN_x4plus.pth=ESRGAN",
    "checkpoints/svd_xt.safetensors=stable-video-diffusion-img2vid-xt",
    "diffusion_models/flux1-dev.safetensors=flux-1-dev",
    "text_encoders/clip_l.safetensors",
    "text_encoders/t5xxl_fp16.safetensors",
    "vae/ae.safetensors",
)


@dataclass
class ComfyUISimulator:
    """A running simulator; folders stay over `restart`, which keeps the port as well."""

    root: Path
    options: dict[str, Any]
    placeholders: tuple[str, ...] = PLACEHOLDERS
    port: int = 0
    process: subprocess.Popen[str] = field(init=False)
    log: list[str] = field(default_factory=list)
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        # A connection for each request, as other processes have; no certificates to load.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(verify=False, limits=limits, timeout=30)  # noqa: S501 - loopback, http
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def models_dir(self) -> Path:
        return self.root / "models"

    @property
    def input_dir(self) -> Path:
        return self.root / "input"

    @property
    def output_dir(self) -> Path:
        return self.root / "output"

    def start(self) -> None:
        """Start the process and wait until it answers; fails with its output otherwise."""
        command = [sys.executable, "-m", "influencerai_dagster.simulators.comfyui"]
        command += ["--port", str(self.port), "--models-dir", str(self.models_dir)]
        command += ["--input-dir", str(self.input_dir), "--output-dir", str(self.output_dir)]
        for placeholder in self.placeholders:
            command += ["--placeholder", placeholder]
        for name, value in self.options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self.log = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read_log, args=(self.process,), daemon=True).start()
        wait_until(
            lambda: self._find_port() or self.process.poll() is not None,
            "the simulator listens or ends",
            timeout_seconds=START_SECONDS,
        )
        if not self._find_port():
            self.stop()
            raise AssertionError(f"the simulator did not start: {''.join(self.log)}")

    def _find_port(self) -> bool:
        for line in list(self.log):
            if "To see the GUI" in line:
                self.port = int(line.split()[-1].rsplit(":", 1)[1])
                self.http.base_url = httpx.URL(self.url)
                return True
        return False

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            with process.stdout:
                self.log.extend(process.stdout)

    def faults(self, **values: Any) -> dict[str, Any]:
        """Set faults by name, see simulators/comfyui/faults.py; returns all of them."""
        answer = self.http.post("/simulator/faults", json=values)
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    def stats(self) -> dict[str, Any]:
        """Return how often each prompt was posted, executed and rendered since the last start."""
        answer = self.http.get("/simulator/stats")
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    def stop(self) -> None:
        """End it with SIGTERM."""
        self.process.terminate()
        self.process.wait(timeout=10)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=10)

    def restart(self) -> None:
        """Kill it and start it again on the same port and folders; queue and history are gone."""
        self.kill()
        self.start()


def start_comfyui_simulator(
    root: Path, *, placeholders: tuple[str, ...] = PLACEHOLDERS, **options: Any
) -> ComfyUISimulator:
    """Start a simulator below a folder; options are those of its command line."""
    return ComfyUISimulator(root, options, placeholders)


@contextmanager
def comfyui_simulator(
    root: Path, *, placeholders: tuple[str, ...] = PLACEHOLDERS, **options: Any
) -> Iterator[ComfyUISimulator]:
    """Run a simulator for the time of a `with` block."""
    server = start_comfyui_simulator(root, placeholders=placeholders, **options)
    try:
        yield server
    finally:
        server.stop()
