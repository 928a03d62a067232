"""Whose keys and whose address a client of S3 uses."""

from pathlib import Path
from typing import Any

import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster_tests.testing.servers import S3Server

OTHER_PROJECT = {
    "AWS_PROFILE": "nosuch",
    "AWS_DEFAULT_PROFILE": "nosuch",
    "AWS_ACCESS_KEY_ID": "other",
    "AWS_SECRET_ACCESS_KEY": "other",
    "AWS_SESSION_TOKEN": "other",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "HTTP_PROXY": "http://127.0.0.1:1",
}


def client(endpoint_url: str | None = None, access_key: str = "", secret_key: str = "") -> Any:
    return make_s3_client(
        endpoint_url=endpoint_url,
        access_key=access_key,
        secret_key=secret_key,
        region="eu-central-1",
        path_style=True,
        checksum_mode="when_required",
    )


@pytest.fixture
def other_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a machine that is used for another project, in a bad state."""
    for name, value in OTHER_PROJECT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        path = tmp_path / name
        path.write_text("this is not an ini file\n", encoding="utf-8")
        monkeypatch.setenv(name, str(path))


@pytest.mark.usefixtures("other_project")
def test_with_keys_of_our_own_nothing_of_another_project_counts(s3_server: S3Server) -> None:
    bucket = s3_server.store().bucket
    s3 = client(s3_server.endpoint_url, s3_server.access_key, s3_server.secret_key)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.usefixtures("other_project")
def test_without_keys_a_bad_profile_or_file_is_named_with_the_remedy() -> None:
    with pytest.raises(PermanentError, match=r"AWS .* Check AWS_PROFILE .* or set S3_KEY"):
        client()


def test_without_keys_the_chain_of_aws_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OTHER_PROJECT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the role")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3 = client()
    assert s3._request_signer._credentials.access_key == "of the role"  # noqa: SLF001 - not told else
    assert s3.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"  # S3_ENDPOINT says where


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(PermanentError, match="S3_ENDPOINT or S3_REGION cannot be used"):
        client("minio:9000", "k", "s")
