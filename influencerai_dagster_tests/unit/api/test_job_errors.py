"""What a tenant reads of a job's error."""

import pytest

from influencerai_dagster.api.jobs.schemas import without_addresses


@pytest.mark.parametrize(
    "address",
    [
        "http://gpu1:8188/prompt",
        "host='10.1.2.3', port=8188",
        "10.1.2.3:8188",
        "10.1.2.3",
        "/srv/comfy/models/x.safetensors",
    ],
)
def test_an_error_names_no_address_and_no_file_of_a_server(address: str) -> None:
    assert without_addresses(f"Asking {address} failed") == "Asking (a server) failed"


@pytest.mark.parametrize("text", ["3.5 of 8 steps", "sd15/face and 1/2", "node 12: KSampler"])
def test_what_is_no_address_stays(text: str) -> None:
    assert without_addresses(text) == text
