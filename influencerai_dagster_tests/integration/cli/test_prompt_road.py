"""How many modules a prompt passes through, from `influencerai jobs submit` to the stored image."""

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self

import influencerai_dagster
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.worker.options import WorkerOptions
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster_tests.testing.catalog_rows import DAY
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.render_servers import (
    comfyui,
    comfyui_simulator,
    render_session,
)

__all__ = ["comfyui", "comfyui_simulator", "render_session"]

PACKAGE = Path(influencerai_dagster.__file__).parent
PROMPT = "amaranth"
IMAGE_FOLDERS = ("media", "storage")
"""Their modules hold the finished PNG, in which ComfyUI writes the prompt."""
MAX_TEXT_MODULES, MAX_IMAGE_MODULES = 23, 7
"""docs/decisions/0045-the-road-of-a-prompt-is-measured.md"""


class Road:
    """Notes the modules of the package that hold the prompt, and those that run at all."""

    def __init__(self) -> None:
        self.holding: set[str] = set()
        self.running: set[str] = set()

    def __enter__(self) -> Self:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, result: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event not in {"call", "return"} or not path.is_relative_to(PACKAGE):
            return
        if frame.f_code.co_name == "<module>":
            return
        module = str(path.relative_to(PACKAGE))
        self.running.add(module)
        values = [value for name, value in frame.f_locals.items() if name != "self"]
        if any(_holds_prompt(value) for value in (*values, result)):
            self.holding.add(module)


def _holds_prompt(value: object) -> bool:
    try:
        return PROMPT in repr(value)
    except Exception:  # noqa: BLE001 - an object that is not complete yet has no repr
        return False


def test_a_prompt_passes_through_few_modules(
    jobs: CommandLine, render_session: RenderSession, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(
        json.dumps([{"prompt": PROMPT, "steps": 1, "width_px": 64, "height_px": 64}]),
        encoding="utf-8",
    )
    with Road() as road:
        jobs("jobs", "submit", file, "--tenant", "demo", "--day", str(DAY))
        report = RenderWorker(
            jobs.engine,
            jobs.store,
            render_session,
            ImageRenderer(jobs.engine, jobs.store, render_session),
            registration=WorkerRegistration("run", JobKind.IMAGE, "demo", DAY),
            options=WorkerOptions(idle_timeout_seconds=0),
        ).run()
    assert [job.error for job in report.jobs] == [None]
    of_image = {module for module in road.holding if module.startswith(IMAGE_FOLDERS)}
    of_text = road.holding - of_image
    assert len(of_text) <= MAX_TEXT_MODULES, sorted(of_text)
    assert len(of_image) <= MAX_IMAGE_MODULES, sorted(of_image)
