"""The description of the API: stored, with an example for every body, and obeyed by the server.

After a change on purpose, `python -m influencerai_dagster_tests.integration.api.test_openapi`
writes docs/reference/openapi.json again.
"""

import json
import re
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from influencerai_dagster.api.app import create_app
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.settings import settings_from
from influencerai_dagster_tests.testing.api_site import JWT_SECRET, ApiSite
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

STORED = PROJECT_DIR / "docs" / "reference" / "openapi.json"
NUM_EXAMPLES = 10
MIN_CASES = 100
TOO_LARGE = 413
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
]
"""Not positive_data_acceptance: a job may name a LoRA that its tenant does not have."""


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_breaks_the_api_or_its_description(
    site: ApiSite, mode: schemathesis.GenerationMode
) -> None:
    unlimited = site.with_settings(ENABLE_RATE_LIMITING="false")
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", unlimited.app)
    headers = {"Authorization": f"Bearer {site.api_key()}"}
    num_cases = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        try:
            strategy = operation.as_strategy(generation_mode=mode)

            @hypothesis_settings(
                max_examples=NUM_EXAMPLES,
                phases=[Phase.generate],
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def ask(case: Any) -> None:
                nonlocal num_cases
                num_cases += 1
                answer = case.call(headers=headers)
                if answer.status_code != TOO_LARGE:  # which schemathesis takes for accepted
                    case.validate_response(answer, headers=headers, checks=CHECKS)

            ask()
        except (Unsatisfiable, SkipTest):
            assert mode is schemathesis.GenerationMode.NEGATIVE  # nothing can be wrong with it
    assert num_cases > MIN_CASES


def text_of(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def document_of_the_code() -> str:
    keys = {"S3_KEY": "key", "S3_SECRET": "secret", "JWT_SECRET": JWT_SECRET}
    return text_of(create_app(ApiContext.of(settings_from(keys))).openapi())


def test_the_stored_description_is_that_of_the_code() -> None:
    assert STORED.read_text(encoding="utf-8") == document_of_the_code()


def test_the_reference_lists_every_route_and_what_it_does() -> None:
    document = json.loads(document_of_the_code())
    text = (STORED.parent / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([A-Z]+ [^`?]+)` \| ([^|]+) \| ", text, re.MULTILINE))
    routes = {
        (f"{method.upper()} {path}", operation["summary"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert routes - listed == set()


def test_the_reference_lists_every_code_of_a_problem() -> None:
    text = (STORED.parent / "api.md").read_text(encoding="utf-8")
    sources = "".join(
        path.read_text() for path in (PROJECT_DIR / "influencerai_dagster/api").rglob("*.py")
    )
    codes = set(re.findall(r"HTTPStatus\.[A-Z_]+,\s+\"([a-z_]+)\"", sources))
    assert "rate_limited" in codes
    assert {code for code in codes if f"| `{code}` | " not in text} == set()


def test_every_body_has_an_example() -> None:
    document = json.loads(document_of_the_code())
    schemas = document["components"]["schemas"]
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    assert bodies
    assert [name for name in bodies if "example" not in schemas[name]] == []


if __name__ == "__main__":
    STORED.write_text(document_of_the_code(), encoding="utf-8")
