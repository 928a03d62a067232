"""Check that the buckets of a backup answer, before rclone uses them.

With a wrong secret, rclone reports that the location "is a file not a directory"; with a missing
bucket it reports nothing and fails with every object. The server's own answer names the cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket, Location
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.errors import StoreSettings, translated_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_TARGET_SETTINGS = StoreSettings(
    bucket="BACKUP_TARGET",
    key="BACKUP_S3_KEY",
    secret="BACKUP_S3_SECRET",  # noqa: S106 - the name of a setting
    endpoint="BACKUP_S3_ENDPOINT",
)


def check_answers(source: Location, target: BackupTarget) -> None:
    """Ask both locations; folders are not checked.

    Raises:
        PermanentError: access is denied, or a bucket is not there; the text names the setting.
        TransientError: a server does not answer.
    """
    _ask(source, StoreSettings())
    _ask(target.location, _TARGET_SETTINGS)


def keys_without_first_part(source: Location) -> set[str]:
    """Return the keys of a bucket that begin with a slash: rclone ignores them silently.

    Raises:
        TransientError: the server does not answer.
    """
    if not isinstance(source, Bucket):
        return set()
    base, keys = base_of(source), set[str]()
    first = f"{base}/"
    try:
        with client_of(source) as client, translated_errors("list", source.name, first):
            # One level: some servers drop the slash and list all objects.
            ask = partial(client.get_paginator("list_objects_v2").paginate, Bucket=source.name)
            for page in ask(Prefix=first, Delimiter="/"):
                keys |= {item["Key"] for item in page.get("Contents", [])}
                folders = [item["Prefix"] for item in page.get("CommonPrefixes", [])]
                for folder in folders:
                    if folder.startswith(first):
                        below = (inner.get("Contents", []) for inner in ask(Prefix=folder))
                        keys |= {item["Key"] for items in below for item in items}
    except PermanentError:
        return set()  # a server that refuses this prefix has no such keys
    return {key.removeprefix(base) for key in keys if key.startswith(first)}


def _ask(location: Location, settings: StoreSettings) -> None:
    if not isinstance(location, Bucket):
        return
    prefix = base_of(location) + _NOTHING
    with client_of(location) as client, translated_errors("list", location.name, prefix, settings):
        client.list_objects_v2(Bucket=location.name, Prefix=prefix, MaxKeys=1)


_NOTHING = "influencerai-asks-whether-this-bucket-answers/"
"""A prefix without objects: some servers read the whole listing before they answer."""


def base_of(location: Bucket) -> str:
    """Return the beginning of every key: nothing, or a prefix and its slash."""
    return f"{location.prefix.strip('/')}/".lstrip("/")


@contextmanager
def client_of(location: Bucket) -> Iterator["S3Client"]:
    """Return a client of the bucket's server for the block."""
    client = make_s3_client(
        endpoint_url=location.endpoint_url,
        access_key=location.access_key,
        secret_key=location.secret_key,
        region=location.region,
        path_style=location.is_path_style,
        checksum_mode="when_required",
    )
    try:
        yield client
    finally:
        client.close()
