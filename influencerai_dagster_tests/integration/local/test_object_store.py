import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from influencerai_dagster.errors import InsufficientStorageError
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server, running
from influencerai_dagster_tests.testing.waiting import wait_until

SEEN_SECONDS = 5.0
SMALL_DISK = (
    'mount -t tmpfs -o size=1m t "$0" && mkdir "$0/assets" && echo $$ >"$0.pid" && exec "$@"'
)
UNSHARE = ("unshare", "--mount", "--map-root-user")


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.store().bucket


def keys(server: S3Server, bucket: str) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=bucket).get("Contents", [])
    return [item["Key"] for item in listed]


def test_a_file_dropped_into_the_folder_is_an_upload(s3_server: S3Server, bucket: str) -> None:
    assert keys(s3_server, bucket) == []
    folder = s3_server.root_dir / bucket / "datasets/demo/bella/images"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"abc")
    wait_until(
        lambda: keys(s3_server, bucket) == ["datasets/demo/bella/images/a.jpg"],
        "the file is listed",
        timeout_seconds=SEEN_SECONDS,
    )
    answer = s3_server.client().get_object(Bucket=bucket, Key="datasets/demo/bella/images/a.jpg")
    assert answer["Body"].read() == b"abc"


def test_an_upload_is_a_file_in_the_folder(s3_server: S3Server, bucket: str) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="x/y.bin", Body=b"123")
    assert (s3_server.root_dir / bucket / "x/y.bin").read_bytes() == b"123"


def test_a_presigned_link_needs_no_key_and_cannot_be_changed(
    s3_server: S3Server, bucket: str
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="a", Body=b"1")
    link = s3_server.client().generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "a"}, ExpiresIn=60
    )
    assert httpx.get(link).content == b"1"
    assert httpx.get(link.replace("/a?", "/b?")).status_code == httpx.codes.FORBIDDEN


def test_refuses_a_wrong_secret(s3_server: S3Server) -> None:
    wrong = S3Server("rclone", s3_server.endpoint_url, "test-access", "wrong", Path())
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.client().list_buckets()


def test_shows_only_the_buckets_it_was_given(servers_dir: Path) -> None:
    root = servers_dir / "only-some"
    (root / "postgres").mkdir(parents=True)
    (root / "postgres" / "PG_VERSION").write_text("18")
    port = free_port()
    server = ObjectStoreServer(root, port, "test-access", "secret", buckets=["assets"])
    client = S3Server("rclone", server.endpoint_url, "test-access", "secret", root).client()
    with running(server.service({}), root):
        assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["assets"]
        with pytest.raises(ClientError, match="NoSuchBucket"):
            client.get_object(Bucket="postgres", Key="PG_VERSION")


@pytest.mark.skipif(not _may_mount(), reason="this user may not mount a small disk")
@pytest.mark.parametrize("size_bytes", [2_000_000, 40_000_000], ids=["one part", "many parts"])
def test_a_full_disk_is_insufficient_storage(servers_dir: Path, size_bytes: int) -> None:
    root = servers_dir / f"small-disk-{size_bytes}"
    root.mkdir()
    big = root.with_suffix(".bin")
    big.write_bytes(b"x" * size_bytes)
    server = ObjectStoreServer(root, free_port(), "test-access", "secret")
    service = server.service({})
    command = [*UNSHARE, "sh", "-c", SMALL_DISK, str(root), *service.command]
    with running(replace(service, command=command), servers_dir):
        client = S3Server("rclone", server.endpoint_url, "test-access", "secret", root).client()
        process = root.with_name(f"{root.name}.pid").read_text().strip()
        store = ObjectStore(client, "assets", disk=Path(f"/proc/{process}/root/{root}"))
        store.put_new("a", b"fits")
        with pytest.raises(InsufficientStorageError, match="free space on the object store"):
            store.put_new("b", big)
        with pytest.raises(InsufficientStorageError, match="free space on the object store"):
            store.put_latest("c", b"x" * 2_000_000)
        assert store.get("a") == b"fits"
