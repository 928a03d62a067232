"""Asks the buckets of a backup whether they answer, before rclone does.

rclone says of a wrong secret that the place "is a file not a directory", and of a bucket that is
not there nothing, but fails with every object. The server's own answer names what is wrong.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from influencerai_dagster.backup.objects.places import BackupTarget, Bucket, Place
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


def check_answers(source: Place, target: BackupTarget) -> None:
    """Ask both places; folders are not looked at.

    Raises:
        PermanentError: access is denied, or a bucket is not there; the text names the setting.
        TransientError: a server does not answer.
    """
    _ask(source, StoreSettings())
    _ask(target.place, _TARGET_SETTINGS)


def keys_without_first_part(source: Place) -> set[str]:
    """Return the keys of a bucket that begin with a slash, of which rclone copies and says nothing.

    Raises:
        TransientError: as in `check_answers`, which comes first.
    """
    if not isinstance(source, Bucket):
        return set()
    base, keys = base_of(source), set[str]()
    first = f"{base}/"
    try:
        with client_of(source) as client, translated_errors("list", source.name, first):
            # One level, since some servers take the slash away and list all that they have.
            ask = partial(client.get_paginator("list_objects_v2").paginate, Bucket=source.name)
            for page in ask(Prefix=first, Delimiter="/"):
                keys |= {item["Key"] for item in page.get("Contents", [])}
                folders = [item["Prefix"] for item in page.get("CommonPrefixes", [])]
                for folder in folders:
                    if folder.startswith(first):
                        below = (inner.get("Contents", []) for inner in ask(Prefix=folder))
                        keys |= {item["Key"] for items in below for item in items}
    except PermanentError:
        return set()  # a server that refuses such a prefix has no such keys
    return {key.removeprefix(base) for key in keys if key.startswith(first)}


def _ask(place: Place, settings: StoreSettings) -> None:
    if not isinstance(place, Bucket):
        return
    prefix = base_of(place) + _NOTHING
    with client_of(place) as client, translated_errors("list", place.name, prefix, settings):
        client.list_objects_v2(Bucket=place.name, Prefix=prefix, MaxKeys=1)


_NOTHING = "influencerai-asks-whether-this-bucket-answers/"
"""A prefix without objects: some servers read all that a listing could have before they answer."""


def base_of(place: Bucket) -> str:
    """Return what is before every key: nothing, or a prefix and its slash."""
    return f"{place.prefix.strip('/')}/".lstrip("/")


@contextmanager
def client_of(place: Bucket) -> Iterator["S3Client"]:
    """Return a client of the bucket's server for the block."""
    client = make_s3_client(
        endpoint_url=place.endpoint_url,
        access_key=place.access_key,
        secret_key=place.secret_key,
        region=place.region,
        path_style=place.is_path_style,
        checksum_mode="when_required",
    )
    try:
        yield client
    finally:
        client.close()
