"""Asset `captions` with a captioner that is paid: nothing is paid for twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.definitions import build_definitions, build_resources
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.settings import settings_from
from influencerai_dagster.wiring.training import response_cache
from influencerai_dagster_tests.testing.code_location import CodeLocation, failure_text, photo
from influencerai_dagster_tests.testing.openrouter_server import Simulator, openrouter_url


@pytest.fixture
def simulator(servers_dir: Path) -> Iterator[Simulator]:
    with openrouter_url(servers_dir / "openrouter-of-captions") as url:
        yield Simulator(url)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("captions")
    return {name: item.value for name, item in event.metadata.items()}


def test_a_run_pays_only_for_what_the_one_before_it_was_not_answered(
    code_location: CodeLocation, simulator: Simulator
) -> None:
    settings = settings_from(
        code_location.settings.variables_set()
        | {
            "ENABLE_AUTO_CAPTIONS": True,
            "AUTO_CAPTIONER": "openrouter",
            "OPENROUTER_BASE_URL": simulator.base_url,
            "OPENROUTER_API_KEY": "sk-test",
        }
    )
    code_location.definitions = build_definitions(settings, build_resources(settings))
    for number in range(3):
        code_location.upload("demo", "bella", f"{number}.jpg", photo(number))
    simulator.set_faults(status=402, count=1)
    assert "no credits" in failure_text(code_location.run("build_dataset_job", "demo/bella"))
    num_calls = len(simulator.calls())
    found = metadata(code_location.run("build_dataset_job", "demo/bella"))
    assert found["sources"] == {"openrouter": 3}
    assert found["cache_hits"] == num_calls - 1
    assert len(simulator.calls()) - num_calls == 3 - found["cache_hits"]


@pytest.mark.parametrize(
    ("values", "kept_for"),
    [
        ({}, (86400, "")),
        ({"OPENROUTER_CACHE_TTL": "2h"}, (7200, "")),
        ({"OPENROUTER_CACHE_TTL": "0"}, (86400, "run-1")),
        ({"ENABLE_CACHING": False}, (86400, "run-1")),
        ({"AUTO_CAPTIONER": "blip"}, None),
        ({"ENABLE_AUTO_CAPTIONS": False}, None),
    ],
)
def test_answers_are_kept_for_as_long_as_the_settings_say(
    catalog: Catalog, values: dict[str, Any], kept_for: tuple[int, str] | None
) -> None:
    settings = settings_from(
        {"ENABLE_AUTO_CAPTIONS": True, "AUTO_CAPTIONER": "openrouter"} | values
    )
    kept = response_cache(settings, catalog.engine, "demo", "run-1")
    assert (kept and (kept.keep_for.total_seconds(), kept.only_in_run)) == kept_for
