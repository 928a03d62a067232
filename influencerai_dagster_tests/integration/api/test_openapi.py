"""The description of the API: stored, with an example for every body, and obeyed by the server.

After a change on purpose, `python -m influencerai_dagster_tests.integration.api.test_openapi`
writes docs/reference/openapi.json anew.
"""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
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
NUM_EXAMPLES = 15
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


@pytest.fixture
def api_schema(site: ApiSite) -> Any:
    unlimited = site.with_settings(ENABLE_RATE_LIMITING="false")
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", unlimited.app)
    schema.config.update(headers={"Authorization": f"Bearer {site.api_key()}"})
    return schema


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@hypothesis_settings(
    max_examples=NUM_EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
)
def test_no_request_breaks_the_api_or_its_description(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)


def text_of(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def document_of_the_code() -> str:
    keys = {"S3_KEY": "key", "S3_SECRET": "secret", "JWT_SECRET": JWT_SECRET}
    return text_of(create_app(ApiContext.of(settings_from(keys))).openapi())


def test_the_stored_description_is_that_of_the_code() -> None:
    assert STORED.read_text(encoding="utf-8") == document_of_the_code()


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
