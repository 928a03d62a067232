"""What the demo makes of what it sees: real catalog and bucket, and a Dagster with a story."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import UPLOADS_TAG
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.dagster_client.client import DagsterGraphQL, Materialization, Run
from influencerai_dagster.dagster_client.queries import LIST_RUNS
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.loras import newest_lora, record_lora
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.local.demo import PROMPTS, Demo
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_all,
    claim_one,
    complete_job,
    lora_manifest,
)

ASSETS = ["dataset", "captions", "lora_weights", "lora_samples"]
FACTS: dict[str, str | int] = {
    "object_key": "manifest.json",
    "size_bytes": 10,
    "images": 10,
    "rejected": 2,
    "captions": 10,
    "steps": 20,
    "base_model": "sd15",
    "weights_key": "loras/demo/1.safetensors",
    "weights_size_bytes": 1000,
    "samples": 6,
}


def nothing() -> None:
    """No worker takes the jobs."""


@dataclass
class Story(DagsterGraphQL):
    """A Dagster that has made some assets at some time, and whose worker does the jobs."""

    made_at: dict[str, float] = field(default_factory=dict)
    runs_seen: list[Run] = field(default_factory=list)
    work: Callable[[], None] = nothing
    launched: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        assert query == LIST_RUNS, variables
        return {"runsOrError": {"results": []}}

    def add_partition(self, partition_set: str, key: str) -> None:
        assert (partition_set, key) == ("datasets", "demo/bella")

    def launch(
        self,
        job_name: str,
        *,
        partition_key: str,
        run_config: dict[str, Any],
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        assert not run_config
        assert set(tags) == {UPLOADS_TAG}
        self.launched.append((job_name, partition_key))
        return "run-0"

    def materialization(self, asset: str, partition_key: str) -> Materialization | None:
        assert partition_key == "demo/bella"
        if asset not in self.made_at:
            return None
        if asset == ASSETS[-1]:
            self.work()
        return Materialization(self.made_at[asset], FACTS)

    def log_lines(self, run_id: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        return ([f"{run_id}: step 7 of 20"] if cursor is None else []), "the end"

    def runs(self, partition_key: str, *, created_after: float) -> list[Run]:
        assert partition_key.startswith("demo/")
        assert created_after > 0
        return self.runs_seen


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_catalog_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def demo(engine: Engine, object_store: ObjectStore, tmp_path: Path) -> Callable[..., Demo]:
    (tmp_path / "a.jpg").write_bytes(b"a photo")

    def make(
        story: Story,
        time_limit_seconds: float = 20.0,
        show: Callable[[str], None] = lambda _line: None,
    ) -> Demo:
        return Demo(
            engine=engine,
            store=object_store,
            dagster=story,
            samples=tmp_path,
            announce=lambda _line: None,
            show=show,
            time_limit_seconds=time_limit_seconds,
        )

    return make


def render(engine: Engine) -> None:
    """Do every job of the job queue, the video after its image."""
    with transaction(engine) as session:
        if newest_lora(session, "demo", "bella") is None:
            record_lora(session, lora_manifest())
    for kind in (JobKind.IMAGE, JobKind.VIDEO):
        for job in claim_all(engine, kind=kind):
            complete_job(engine, job)


def story_of(made_at: float, work: Callable[[], None] = nothing) -> Story:
    return Story(made_at=dict.fromkeys(ASSETS, made_at), work=work)


def test_every_stage_is_told_with_its_key_and_time(
    demo: Callable[..., Demo], engine: Engine
) -> None:
    story = story_of(time.time() + 60, lambda: render(engine))
    results = demo(story).run()

    assert story.launched == [("build_dataset_job", "demo/bella")]
    assert [item.asset for item in results] == [*ASSETS, "generated_images", "generated_videos"]
    assert all(item.seconds is not None for item in results)
    assert results[2].object_key == "loras/demo/1.safetensors"
    assert results[4].made.startswith(f"{len(PROMPTS)} ")
    assert results[5].object_key.endswith("/output.mp4")
    assert [item.prompt for item in results[4].outputs] == [f"bella, {text}" for text in PROMPTS]
    assert [item.object_key[-11:] for item in results[5].outputs] == ["/output.mp4"]


def test_what_is_waited_for_is_shown_with_its_progress(demo: Callable[..., Demo]) -> None:
    training = story_of(time.time() + 60)
    training.made_at = dict.fromkeys(ASSETS[:2], time.time() + 60)
    training.runs_seen = [Run("run-1", "train_lora_job", "STARTED", ())]
    lines: list[str] = []
    with pytest.raises(TransientError):
        demo(training, time_limit_seconds=1.2, show=lines.append).run()
    assert lines[0].startswith("stage 3 of 6: lora_weights, 0 s")
    assert all("run-1: step 7 of 20" in line for line in lines)
    rendering = story_of(time.time() + 60)
    lines.clear()
    with pytest.raises(TransientError):
        demo(rendering, time_limit_seconds=0.8, show=lines.append).run()
    assert f"stage 5 of 6: generated_images, 0 s  [dim]0 of {len(PROMPTS)} done[/]" in lines


def test_a_second_demo_takes_what_the_first_made_of_the_same_photos(
    demo: Callable[..., Demo], engine: Engine
) -> None:
    demo(story_of(time.time() + 60, lambda: render(engine))).run()

    story = story_of(1000.0, lambda: render(engine))
    again = demo(story).run()

    assert story.launched == []
    assert [item.seconds for item in again[:4]] == [None] * 4
    assert all(item.seconds is not None for item in again[4:])


def test_what_was_made_of_other_photos_does_not_count(demo: Callable[..., Demo]) -> None:
    with pytest.raises(TransientError, match="dataset was not materialized within 1 s"):
        demo(story_of(1000.0), time_limit_seconds=1.0).run()


def test_a_run_that_failed_ends_the_demo_with_its_reason(demo: Callable[..., Demo]) -> None:
    failed = Run("run-1", "build_dataset_job", "FAILURE", ("all 2 uploads were rejected",))
    with pytest.raises(PermanentError) as caught:
        demo(Story(runs_seen=[failed])).run()
    assert "build_dataset_job run run-1 failed" in str(caught.value)
    assert "all 2 uploads were rejected" in str(caught.value)


def test_a_job_that_failed_ends_the_demo_with_its_reason(
    demo: Callable[..., Demo], engine: Engine
) -> None:
    def fail_one() -> None:
        with transaction(engine) as session:
            record_lora(session, lora_manifest())
        job = claim_one(engine, limit=1)
        with transaction(engine) as session:
            job_queue.fail(session, job.id, job.lease_token, PermanentError("no such workflow"))

    with pytest.raises(PermanentError, match="failed: no such workflow"):
        demo(story_of(time.time() + 60, fail_one)).run()
