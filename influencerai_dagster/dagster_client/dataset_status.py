"""Report the progress of a dataset towards a LoRA, stage by stage, and what blocks it.

uploads → dataset → captions → training
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import FAILURE, WAITING
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.dagster_client.client import DagsterGraphQL, Materialization
from influencerai_dagster.dagster_client.overview import (
    RunSummary,
    failed_checks,
    list_runs,
    training_step,
)
from influencerai_dagster.db import datasets, loras
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_names import require_dataset

_MIB = 1024**2


class StageState(StrEnum):
    """State of a stage."""

    DONE = "done"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class Stage:
    """One stage of a dataset.

    Attributes:
        text: what exists, or what it waits for and what to do.
        at: when it was done, UTC; None if it is not.
        run_id: the Dagster run that works on it, or that failed.
    """

    stage: str
    state: StageState
    text: str
    at: datetime | None = None
    run_id: str | None = None


def dataset_status(
    engine: Engine,
    store: ObjectStore,
    dagster: DagsterGraphQL,
    key: DatasetKey,
    *,
    settle_seconds: float,
) -> list[Stage]:
    """Return the stages of a dataset in order; the first that is not done blocks those after it.

    Args:
        engine: of the catalog.
        store: the bucket of assets.
        dagster: the web server.
        key: the dataset.
        settle_seconds: DATASET_SETTLE_SECONDS.

    Raises:
        PermanentError: the tenant has no such dataset; the text says which it has.
    """
    require_dataset(engine, store, key)
    return _DatasetStages(engine, store, dagster, key, settle_seconds).all()


class _DatasetStages:
    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        dagster: DagsterGraphQL,
        key: DatasetKey,
        settle_seconds: float,
    ) -> None:
        self._engine, self._store, self._dagster = engine, store, dagster
        self._key, self._settle_seconds = key, settle_seconds
        self._runs = list_runs(dagster, partition_key=str(key))

    def all(self) -> list[Stage]:
        uploads = self._uploads()
        dataset = self._dataset(uploads)
        captions = self._captions(dataset)
        return [uploads, dataset, captions, self._training()]

    def _uploads(self) -> Stage:
        files = list(self._store.list(uploads_prefix(self._key)))
        if not files:
            advice = f"`influencerai dataset upload FOLDER --tenant {self._key.tenant}`"
            return Stage("uploads", StageState.WAITING, f"no file is uploaded: {advice}")
        now = datetime.now(UTC)
        # A time in the future comes from a wrong clock: it is ignored.
        past = [item.last_modified for item in files if item.last_modified <= now]
        newest = max(past, default=datetime.min.replace(tzinfo=UTC))
        size = sum(item.size_bytes for item in files) / _MIB
        quiet = (now - newest).total_seconds()
        text = f"{len(files)} files, {size:,.1f} MiB"
        if quiet < self._settle_seconds and not self._alive("dataset"):
            text += f"; quiet for {max(0, quiet):.0f} of {self._settle_seconds:g} s"
            return Stage("uploads", StageState.RUNNING, text)
        return Stage("uploads", StageState.DONE, text, newest)

    def _dataset(self, uploads: Stage) -> Stage:
        with transaction(self._engine) as session:
            record = datasets.get_dataset(session, self._key.tenant, self._key.dataset)
        made = self._dagster.materialization("dataset", str(self._key))
        if record is None or made is None or _is_older(made, uploads.at):
            return self._unfinished("dataset", made, "dataset_upload_sensor starts it by itself")
        text = f"{record.num_images} images accepted, {record.num_rejected} uploads rejected"
        return self._checked("dataset", text, made)

    def _captions(self, dataset: Stage) -> Stage:
        made = self._dagster.materialization("captions", str(self._key))
        if made is None or _is_older(made, dataset.at):
            return self._unfinished("captions", made, "they are written after the dataset")
        return self._checked("captions", f"{made.metadata.get('captions', '')} captions", made)

    def _training(self) -> Stage:
        key = self._key
        with transaction(self._engine) as session:
            record = datasets.get_dataset(session, key.tenant, key.dataset)
            lora = loras.newest_lora(session, key.tenant, key.dataset)
        made = self._dagster.materialization("lora_weights", str(key))
        is_current = (
            lora is not None and record is not None and lora.dataset_version == record.version
        )
        if lora is None or not is_current or self._alive("lora_weights") is not None:
            old = "" if lora is None else f"; {lora.lora_id} is of an earlier version"
            return self._unfinished(
                "training", made, f"it starts when the captions are done{old}", "lora_weights"
            )
        text = f"LoRA {lora.lora_id} is ready, {lora.size_bytes / _MIB:,.1f} MiB"
        return Stage("training", StageState.DONE, text, lora.created_at)

    def _checked(self, asset: str, text: str, made: Materialization) -> Stage:
        """Return a stage that is done, or failed if a blocking check did not pass."""
        blocking = [
            f"{check.name}: {check.text}"
            for check in failed_checks(self._dagster, asset, str(self._key))
            if check.is_blocking
        ]
        if blocking:
            return Stage(asset, StageState.FAILED, f"{text}; {'; '.join(blocking)}")
        return Stage(asset, StageState.DONE, text, _at(made))

    def _unfinished(
        self, stage: str, made: Materialization | None, otherwise: str, asset: str = ""
    ) -> Stage:
        """Return a stage that a run works on, that failed, or that waits."""
        run = self._alive(asset or stage)
        if run is not None:
            step = training_step(self._dagster, run.run_id) if stage == "training" else None
            waits = run.status in WAITING
            text = step or ("its run waits in the queue" if waits else "its run works on it")
            state = StageState.WAITING if waits else StageState.RUNNING
            return Stage(stage, state, text, run_id=run.run_id)
        ended = next((item for item in self._runs if (asset or stage) in item.assets), None)
        is_newer = ended is not None and (made is None or ended.created_at > _at(made))
        if ended is not None and ended.status == FAILURE and is_newer:
            failures = self._dagster.run(ended.run_id).failures
            reason = "\n".join(failures) or "it failed without a reason"
            return Stage(stage, StageState.FAILED, reason, run_id=ended.run_id)
        return Stage(stage, StageState.WAITING, otherwise)

    def _alive(self, asset: str) -> RunSummary | None:
        return next((run for run in self._runs if run.is_alive and asset in run.assets), None)


def _at(made: Materialization) -> datetime:
    return datetime.fromtimestamp(made.at, UTC)


def _is_older(made: Materialization, than: datetime | None) -> bool:
    return than is not None and _at(made) < than
