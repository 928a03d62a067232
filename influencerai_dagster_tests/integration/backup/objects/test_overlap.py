"""A backup target that lies in what is backed up is refused before a byte is copied."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.backed_up import bucket_of
from influencerai_dagster_tests.testing.servers import S3Server

WINDOW = timedelta(days=30)


@pytest.mark.parametrize("prefix", ["", "backup/of us"], ids=["bucket", "prefix"])
@pytest.mark.parametrize("encryption_key", ["", "secret"], ids=["plain", "encrypted"])
def test_a_bucket_is_not_backed_up_into_itself(
    any_s3: S3Server, prefix: str, encryption_key: str
) -> None:
    store = any_s3.store()
    store.put_latest("images/a.png", b"1")
    source = bucket_of(any_s3, store)
    endpoint = (source.endpoint_url or "").replace("127.0.0.1", "localhost")  # another name of it
    target = BackupTarget(replace(source, prefix=prefix, endpoint_url=endpoint), encryption_key)
    with pytest.raises(PermanentError, match="one lies in the other"):
        copy_objects(source, target, recovery_window=WINDOW)
    assert [info.key for info in store.list("")] == ["images/a.png"]


def test_another_bucket_and_another_prefix_of_it_are_no_overlap(s3_server: S3Server) -> None:
    store, other = s3_server.store(), s3_server.store()
    store.put_latest("images/a.png", b"1")
    store.put_latest("backup/place-0123456789abcdef.txt", b"of another target")
    target = BackupTarget(replace(bucket_of(s3_server, other), prefix="backup"))
    for _ in range(2):
        report = copy_objects(bucket_of(s3_server, store), target, recovery_window=WINDOW)
        assert (report.num_objects, report.failures) == (2, {})


def test_the_folder_of_an_s3_server_is_not_backed_up_into_itself(s3_server: S3Server) -> None:
    store = s3_server.store()
    store.put_latest("images/a.png", b"1")
    disk = s3_server.root_dir / store.bucket
    source = replace(bucket_of(s3_server, store), disk=disk)
    for folder in ("", "images", "new/deep", "off-site"):
        with pytest.raises(PermanentError, match="one lies in the other"):
            copy_objects(source, BackupTarget(disk / folder), recovery_window=WINDOW)
    assert [path.name for path in disk.rglob("*") if path.is_file()] == ["a.png"]


@pytest.mark.parametrize(
    ("home", "target"),
    [("b", "b"), ("b", "b/copy"), ("b/barman", "b"), ("b", "link/copy")],
    ids=["same", "inside", "is its folder", "by a link"],
)
def test_a_folder_is_not_backed_up_into_itself(tmp_path: Path, home: str, target: str) -> None:
    (tmp_path / home).mkdir(parents=True)
    (tmp_path / home / "base.tar").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    with pytest.raises(PermanentError, match="one lies in the other"):
        copy_objects(
            tmp_path / home,
            BackupTarget(tmp_path / target),
            recovery_window=WINDOW,
            folder="barman",
        )
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["base.tar"]
