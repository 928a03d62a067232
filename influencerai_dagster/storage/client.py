"""Make the boto3 client for any S3: timeouts, retries, addressing and checksum mode.

Servers differ: some refuse the checksum trailers that boto3 sends by default (`when_supported`),
and most that are not AWS need path-style addresses.
Follows botocore's Config reference and the SDKs' guide "Data Integrity Protections for Amazon S3".
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Literal

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.http_clients import ca_bundle, is_direct

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.config import Config
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

ChecksumMode = Literal["when_required", "when_supported"]

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
MAX_ATTEMPTS = 4
MAX_POOL_CONNECTIONS = 32
_NOTHING_OF_THE_USER: dict[str, tuple[None, list[str], str | None, None]] = {
    "profile": (None, [], None, None),
    "config_file": (None, [], os.devnull, None),
    "credentials_file": (None, [], os.devnull, None),
}
"""Settings of botocore: name in the configuration file, variables, default, conversion."""
_USER_AGENT = "influencerai"
"""Without one, botocore puts a long one together twice for every request: a sixth of its CPU."""


def s3_client_config(*, path_style: bool, checksum_mode: ChecksumMode) -> "Config":
    """Return the botocore Config that every S3 client of this project is made with.

    Args:
        path_style: S3_FORCE_PATH_STYLE; the bucket is part of the path, not of the host name.
        checksum_mode: S3_CHECKSUM_MODE, for requests and responses alike.
    """
    from botocore.config import Config  # noqa: PLC0415 - botocore takes 0.15 s to import

    return Config(  # type: ignore[call-arg] # the stubs lack ignore_configured_endpoint_urls
        signature_version="s3v4",  # the default for a custom endpoint presigns with the old v2
        s3={"addressing_style": "path" if path_style else "virtual"},
        request_checksum_calculation=checksum_mode,
        response_checksum_validation=checksum_mode,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        max_pool_connections=MAX_POOL_CONNECTIONS,
        user_agent=_USER_AGENT,
        ignore_configured_endpoint_urls=True,  # AWS_ENDPOINT_URL: S3_ENDPOINT says where
    )


def make_s3_client(
    *,
    endpoint_url: str | None,
    access_key: str,
    secret_key: str,
    region: str,
    path_style: bool,
    checksum_mode: ChecksumMode,
) -> "S3Client":
    """Make a client; it may be used by many threads at once. Nothing is sent yet.

    Args:
        endpoint_url: S3_ENDPOINT; None is AWS itself.
        access_key: S3_KEY; empty leaves both keys to boto3's own chain (instance roles, profiles).
        secret_key: S3_SECRET.
        region: S3_REGION; servers that are not AWS take any.
        path_style: as in `s3_client_config`.
        checksum_mode: as in `s3_client_config`.

    Raises:
        PermanentError: the address cannot be one, or, without keys, boto3's own settings (profiles,
            files) cannot be used.
    """
    from botocore.config import Config  # noqa: PLC0415 - as above
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

    config = s3_client_config(path_style=path_style, checksum_mode=checksum_mode)
    if endpoint_url is not None:
        # AWS_USE_FIPS_ENDPOINT and the like mean AWS's own addresses, and refuse another one.
        config = config.merge(Config(use_fips_endpoint=False, use_dualstack_endpoint=False))
        if is_direct(endpoint_url):
            config = config.merge(Config(proxies={}))  # None would be those of the environment
    try:
        return _session(has_keys=bool(access_key)).client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            region_name=region,
            config=config,
            verify=os.environ.get("AWS_CA_BUNDLE") or ca_bundle(),
        )
    except BotoCoreError as error:
        raise PermanentError(
            f"This machine's own settings for AWS cannot be used: {error}. Check AWS_PROFILE and "
            "~/.aws/config, or set S3_KEY and S3_SECRET, which are then used instead"
        ) from error
    except ValueError as error:
        raise PermanentError(f"S3_ENDPOINT or S3_REGION cannot be used: {error}") from error


def _session(*, has_keys: bool) -> "Session":
    """Return a session; with keys of our own it reads no profile and no file of the user's.

    One for each client: boto3.client() would share the default one, which is not thread-safe.
    """
    from boto3.session import Session  # noqa: PLC0415 - boto3 takes 0.2 s to import
    from botocore.session import Session as CoreSession  # noqa: PLC0415 - as above

    if not has_keys:
        return Session()
    session = CoreSession(session_vars=_NOTHING_OF_THE_USER)
    session.register_component("data_loader", _loader())
    return Session(botocore_session=session)


@cache
def _loader() -> "Loader":
    """Return what reads botocore's description of S3: once, or each client would take 60 ms."""
    from botocore.loaders import Loader  # noqa: PLC0415 - as above

    class SharedLoader(Loader):
        @property
        def search_paths(self) -> list[str]:
            return list(super().search_paths)  # boto3 appends a folder to it for each client

    return SharedLoader()
