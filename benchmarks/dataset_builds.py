"""Many small datasets at once on the local stack with Dagster, and an image in the middle of them.

The baseline calls the same functions in a loop of one process, without Dagster: it says what the
datasets themselves cost.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from benchmarks.comparisons import Comparison
from benchmarks.dagster_stack import dagster_stack
from benchmarks.photos import write_photos
from benchmarks.pipeline_stack import DAY, image
from benchmarks.servers import ComfyUIServer, running_comfyui
from influencerai_dagster.core.dagster_names import BUILD_DATASET_JOB, CODE_LOCATION
from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DatasetKey, DayKey
from influencerai_dagster.core.object_paths import upload_key
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.overview import list_runs
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.local.stack import run_stack
from influencerai_dagster.settings import settings_from
from influencerai_dagster.storage.manifests import publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.captions import CaptionSettings, write_captions
from influencerai_dagster.training.datasets import scan_dataset
from influencerai_dagster.wiring.stores import assets_store
from influencerai_dagster_tests.testing.waiting import wait_until

NUM_TENANTS = 20
DATASETS_PER_TENANT = 3
PHOTOS_PER_DATASET = 3
_NUM_DATASETS = NUM_TENANTS * DATASETS_PER_TENANT
_NUM_IDLE_IMAGES = 3
_TIMEOUT_SECONDS = 1800
_ORDERER = DayKey("orderer", DAY)
_VARIABLES = {
    "DATASET_SETTLE_SECONDS": "0",
    "GENERATION_IDLE_TIMEOUT_SECONDS": "0",  # the next image finds no run again
}
_SENSOR = """
query($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState { id } } }
}
"""
_STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
_NUM_BUILT = text("SELECT count(*) FROM datasets WHERE tenant_id LIKE 'mass-%'")


def run() -> Sequence[Comparison]:
    """Measure datasets a minute, and the seconds until an image is accepted meanwhile."""
    found: list[Comparison] = []
    with (
        running_comfyui(1, seconds_per_step=0.05, has_journal=True) as [comfyui],
        tempfile.TemporaryDirectory(prefix="influencerai-benchmarks-") as folder,
    ):
        stack = dagster_stack(Path(folder), comfyui=comfyui, variables=_VARIABLES)
        write_photos(Path(folder) / "photos", PHOTOS_PER_DATASET)
        photos = [path.read_bytes() for path in sorted((Path(folder) / "photos").iterdir())]

        def measure() -> None:
            with _running(stack.environment, stack.dagster_url, comfyui, photos) as mass:
                found.extend(mass.measure())

        run_stack(stack, measure, announce=print, stays_up=False)
    return found


@dataclass(frozen=True)
class _MassUpload:
    """A running stack that builds nothing at the moment."""

    dagster: DagsterGraphQL
    engine: Engine
    store: ObjectStore
    comfyui: ComfyUIServer
    photos: Sequence[bytes]

    def measure(self) -> Sequence[Comparison]:
        self._stop_trainings()
        self._add_tenants(_ORDERER.tenant)
        idle = [self._order_image() for _ in range(_NUM_IDLE_IMAGES)]
        mass, loop = self._upload("mass"), self._upload("loop")
        meanwhile: list[float] = []
        began, cpu_before = time.monotonic(), _cpu_seconds()
        self._add_tenants(*sorted({key.tenant for key in mass}))
        for quarter in (1, 2, 3):
            self._wait_until_built(_NUM_DATASETS * quarter // 4)
            meanwhile.append(self._order_image())
        self._wait_until_built(_NUM_DATASETS)
        wait_until(self._is_idle, "the last runs", timeout_seconds=_TIMEOUT_SECONDS)
        seconds, cpu_seconds = time.monotonic() - began, _cpu_seconds() - cpu_before
        loop_began, loop_cpu_before = time.monotonic(), _cpu_seconds()
        self._loop(loop)
        loop_seconds, loop_cpu_seconds = (
            time.monotonic() - loop_began,
            _cpu_seconds() - loop_cpu_before,
        )
        return [
            Comparison(
                name=f"{_NUM_DATASETS} datasets of {PHOTOS_PER_DATASET} photos, with captions",
                baseline_name="the same functions in a loop of one process, without Dagster",
                unit="datasets/min",
                measured=[60 * _NUM_DATASETS / seconds],
                baseline=[60 * _NUM_DATASETS / loop_seconds],
                better="higher",
            ),
            Comparison(
                name="the same: CPU of all processes",
                baseline_name="CPU of all processes during the loop",
                unit="s/dataset",
                measured=[cpu_seconds / _NUM_DATASETS],
                baseline=[loop_cpu_seconds / _NUM_DATASETS],
                better="lower",
            ),
            Comparison(
                name="image submitted to prompt accepted meanwhile, slowest",
                baseline_name="the same on the idle stack",
                unit="s",
                measured=[max(meanwhile)],
                baseline=[max(idle)],
                better="lower",
            ),
        ]

    def _stop_trainings(self) -> None:
        """Stop the sensor that would train a LoRA of each dataset: a simulated GPU costs CPU."""
        selector = {**self.dagster.repository, "sensorName": "lora_automation_sensor"}
        found = self.dagster.ask(_SENSOR, {"selector": selector})["sensorOrError"]
        self.dagster.ask(_STOP_SENSOR, {"id": found["sensorState"]["id"]})

    def _add_tenants(self, *tenants: str) -> None:
        with transaction(self.engine) as session:
            for tenant in tenants:
                add_tenant(session, tenant)

    def _upload(self, prefix: str) -> Sequence[DatasetKey]:
        """Upload photos of tenants that are not in the catalog yet, so that no run starts."""
        keys = [
            DatasetKey(f"{prefix}-{tenant:02d}", f"dataset-{dataset}")
            for tenant in range(NUM_TENANTS)
            for dataset in range(DATASETS_PER_TENANT)
        ]
        for key in keys:
            for number, photo in enumerate(self.photos):
                self.store.put_latest(upload_key(key, f"img{number}.jpg"), photo)
        return keys

    def _loop(self, keys: Sequence[DatasetKey]) -> None:
        """Build datasets without Dagster; their tenants stay unknown, so no run starts."""
        settings = CaptionSettings(trigger_phrase="nova", class_caption="person")
        for key in keys:
            manifest = scan_dataset(self.store, key, DatasetRules(), lambda _done, _total: None)
            publish(self.store, manifest)
            write_captions(self.store, manifest, settings)

    def _order_image(self) -> float:
        """Return seconds from `submit` returned to the prompt in ComfyUI."""
        fields = image(time.time_ns() % 2**32).payload.model_dump(
            exclude_none=True, exclude={"kind"}, mode="json"
        )
        submitter = JobSubmitter(self.engine)
        [job] = submitter.submit(JobKind.IMAGE, _ORDERER, [fields], key_prefix=None)
        submitted_at = time.time()
        prompt = prompt_id(job.id, 1)
        wait_until(lambda: prompt in self.comfyui.times("posted"), "the prompt")
        wait_until(self._has_no_worker, "the end of the image's run")
        return self.comfyui.times("posted")[prompt] - submitted_at

    def _has_no_worker(self) -> bool:
        return not list_runs(self.dagster, partition_key=str(_ORDERER), is_alive=True, limit=1)

    def _wait_until_built(self, number: int) -> None:
        def is_built() -> bool:
            with self.engine.connect() as connection:
                return int(connection.execute(_NUM_BUILT).scalar_one()) >= number

        wait_until(is_built, f"{number} datasets", timeout_seconds=_TIMEOUT_SECONDS)

    def _is_idle(self) -> bool:
        return not list_runs(self.dagster, job_name=BUILD_DATASET_JOB, is_alive=True, limit=1)


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the stack's, those that have ended among them.

    A child that has ended is in the times of its parent.
    """
    own = psutil.Process()
    seconds = sum(own.cpu_times()[:2])
    for process in own.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])
    return seconds


@contextmanager
def _running(
    environment: dict[str, str], url: str, comfyui: ComfyUIServer, photos: Sequence[bytes]
) -> Iterator[_MassUpload]:
    engine = create_catalog_engine(environment["DATABASE_URL"])
    store = assets_store(settings_from(environment))
    with closing(DagsterGraphQL(url, CODE_LOCATION)) as dagster:
        yield _MassUpload(dagster, engine, store, comfyui, photos)
    engine.dispose()
