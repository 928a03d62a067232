"""When `lora_weights` is trained by itself: its condition, on partitions of two tenants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.definitions import defs
from influencerai_dagster.orchestration.partitions import dataset_partitions

LORA = dg.AssetKey("lora_weights")
BELLA, ANNA = "demo/bella", "other/anna"


DATASET_CHECKS = {"dataset_has_images": True, "captions_pair_with_images": True}


def stage(asset: str, version: str, checks: Mapping[str, bool]) -> list[Any]:
    """An asset of the pipeline that makes nothing, with its blocking checks, passed or not."""

    @dg.asset(name=asset, partitions_def=dataset_partitions)
    def made() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion(version))

    return [made, *(blocking_check(asset, name, passed=checks[name]) for name in checks)]


def blocking_check(asset: str, name: str, *, passed: bool) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name=name, asset=dg.AssetKey(asset), blocking=True, partitions_def=dataset_partitions
    )
    def checked() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed)

    return checked


@dataclass
class Automation:
    """The automation sensor's ticks, and what happens between them."""

    instance: dg.DagsterInstance
    cursor: Any = None
    trainings: int = 0

    def tick(self) -> set[str]:
        """Evaluate the condition; return the partitions that were asked for."""
        result = dg.evaluate_automation_conditions(
            defs,
            self.instance,
            asset_selection=dg.AssetSelection.assets("lora_weights"),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return {str(partition) for partition in result.get_requested_partitions(LORA)}

    def scan(self, partition: str, version: str) -> None:
        """Make the dataset."""
        self._materialize(stage("dataset", version, DATASET_CHECKS), partition)

    def build(
        self, partition: str, version: str, *, passed: bool = True, is_paired: bool = True
    ) -> None:
        """Do what a run of build_dataset_job does; `passed` is the check of the captions."""
        checks = DATASET_CHECKS | {"captions_pair_with_images": is_paired}
        dataset = stage("dataset", version, checks)
        captions = stage("captions", version, {"every_image_has_a_caption": passed})
        self._materialize(dataset + captions, partition)

    def _materialize(self, definitions: list[Any], partition: str) -> None:
        self.instance.add_dynamic_partitions("datasets", [partition])
        dg.materialize(
            definitions, partition_key=partition, instance=self.instance, raise_on_error=False
        )

    def start(self, job_name: str, asset: str) -> dg.DagsterRun:
        """Let a run of BELLA be alive."""
        return self.instance.create_run_for_job(
            defs.resolve_job_def(job_name),
            tags={"dagster/partition": BELLA},
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset({dg.AssetKey(asset)}),
        )

    def train(self, partition: str) -> None:
        self.trainings += 1
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "lora_weights",
                partition=partition,
                tags={"dagster/data_version": f"weights {self.trainings}"},
            )
        )


@pytest.fixture
def automation(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Automation:
    for name in ("DATABASE_URL", "S3_KEY", "S3_SECRET"):
        monkeypatch.setenv(name, "not used")
    return Automation(instance)


def test_nothing_is_trained_before_there_are_captions(automation: Automation) -> None:
    automation.instance.add_dynamic_partitions("datasets", [BELLA])
    assert automation.tick() == set()
    automation.scan(BELLA, "v1")
    assert automation.tick() == set()


def test_new_captions_are_trained_once(automation: Automation) -> None:
    automation.tick()
    automation.build(BELLA, "v1")
    assert automation.tick() == {BELLA}
    assert automation.tick() == set()
    automation.train(BELLA)
    assert automation.tick() == set()


def test_captions_that_were_there_before_the_first_tick_are_trained(
    automation: Automation,
) -> None:
    automation.build(BELLA, "v1")
    assert automation.tick() == {BELLA}


def test_the_same_content_again_is_not_trained(automation: Automation) -> None:
    automation.build(BELLA, "v1")
    automation.tick()
    automation.train(BELLA)
    automation.tick()
    for _ in range(2):
        automation.build(BELLA, "v1")
        assert automation.tick() == set()


def test_new_content_is_trained_again(automation: Automation) -> None:
    automation.build(BELLA, "v1")
    automation.tick()
    automation.train(BELLA)
    assert automation.tick() == set()
    automation.build(BELLA, "v2")
    assert automation.tick() == {BELLA}
    automation.train(BELLA)
    assert automation.tick() == set()


def test_new_content_of_one_tenant_trains_nobody_else(automation: Automation) -> None:
    automation.build(BELLA, "v1")
    automation.build(ANNA, "v1")
    assert automation.tick() == {BELLA, ANNA}
    automation.train(BELLA)
    automation.train(ANNA)
    automation.tick()
    automation.build(ANNA, "v2")
    assert automation.tick() == {ANNA}


def test_a_failed_blocking_check_stops_the_training_of_its_own_tenant_only(
    automation: Automation,
) -> None:
    automation.tick()
    automation.build(BELLA, "v1", passed=False)
    automation.build(ANNA, "v1")
    assert automation.tick() == {ANNA}
    assert automation.tick() == set()


def test_a_training_that_waited_for_a_check_starts_when_it_passes(automation: Automation) -> None:
    automation.tick()
    automation.build(BELLA, "v1", passed=False)
    assert automation.tick() == set()
    automation.build(BELLA, "v2")
    assert automation.tick() == {BELLA}


def test_content_whose_check_failed_is_not_trained_though_the_one_before_passed(
    automation: Automation,
) -> None:
    automation.build(BELLA, "v1")
    automation.tick()
    automation.train(BELLA)
    automation.tick()
    automation.build(BELLA, "v2", passed=False)
    assert automation.tick() == set()


def test_captions_that_nobody_checked_stop_the_training(automation: Automation) -> None:
    automation.tick()
    automation.build(BELLA, "v1")
    automation.instance.report_runless_asset_event(
        dg.AssetMaterialization("captions", partition=BELLA, tags={"dagster/data_version": "v2"})
    )
    assert automation.tick() == set()


def test_captions_that_belong_to_no_image_stop_the_training_until_they_do(
    automation: Automation,
) -> None:
    automation.tick()
    automation.build(BELLA, "v1", is_paired=False)
    assert automation.tick() == set()
    automation.build(BELLA, "v2")
    assert automation.tick() == {BELLA}


def test_a_check_that_does_not_block_stops_nothing(automation: Automation) -> None:
    automation.tick()
    automation.build(BELLA, "v1")
    automation.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("dataset"),
            check_name="dataset_rights_are_recorded",
            passed=False,
            blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
            partition=BELLA,
        )
    )
    assert automation.tick() == {BELLA}


def test_nothing_is_trained_while_a_training_runs(automation: Automation) -> None:
    automation.build(BELLA, "v1")
    run = automation.start("train_lora_job", "lora_weights")
    assert automation.tick() == set()
    automation.instance.report_run_failed(run)
    assert automation.tick() == {BELLA}


def test_nothing_is_trained_while_a_run_makes_the_captions(automation: Automation) -> None:
    automation.build(BELLA, "v1")
    run = automation.start("build_dataset_job", "captions")
    assert automation.tick() == set()
    automation.instance.report_run_failed(run)
    assert automation.tick() == set()  # its check has not passed
    automation.build(BELLA, "v1")
    assert automation.tick() == {BELLA}


def test_a_training_that_failed_is_not_repeated_by_itself(automation: Automation) -> None:
    automation.build(BELLA, "v1")
    assert automation.tick() == {BELLA}
    run = automation.start("train_lora_job", "lora_weights")
    assert automation.tick() == set()
    automation.instance.report_run_failed(run)
    for _ in range(3):
        assert automation.tick() == set()
    automation.build(BELLA, "v2")
    assert automation.tick() == {BELLA}


def test_a_partition_that_is_added_later_is_trained_when_it_is_ready(
    automation: Automation,
) -> None:
    automation.build(BELLA, "v1")
    automation.tick()
    automation.train(BELLA)
    automation.tick()
    automation.instance.add_dynamic_partitions("datasets", [ANNA])
    assert automation.tick() == set()
    automation.build(ANNA, "v1")
    assert automation.tick() == {ANNA}
