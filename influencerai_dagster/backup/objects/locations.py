"""Describe the locations of objects and of their backup, a bucket or a folder, to rclone.

Remotes are variables of rclone's environment: no secret is on a command line or in a file. Follows
"Environment variables" and the pages of the backends s3, alias and crypt of rclone.org.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from influencerai_dagster.errors import PermanentError


@dataclass(frozen=True)
class Bucket:
    """A bucket, or the objects below a prefix of it.

    Attributes:
        endpoint_url: None is AWS itself.
        disk: the folder of its server on this machine, if there is one.
        access_key: empty uses the credentials of the machine: an instance role or a profile.
    """

    name: str
    endpoint_url: str | None = None
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    region: str = "us-east-1"
    is_path_style: bool = True
    prefix: str = ""
    disk: Path | None = None

    def __str__(self) -> str:
        where = f" at {self.endpoint_url}" if self.endpoint_url else ""
        return f"s3://{self.path}{where}"

    @property
    def path(self) -> str:
        """Bucket and prefix."""
        return f"{self.name}/{self.prefix.strip('/')}".rstrip("/")


OFF_SITE_FOLDER = "off-site"

Location = Bucket | Path
"""A bucket, or a folder of this machine (which may be a mount)."""


@dataclass(frozen=True)
class BackupTarget:
    """Where the backup goes.

    Attributes:
        location: BACKUP_TARGET.
        encryption_key: BACKUP_ENCRYPTION_KEY; with it contents are encrypted at rest. Object keys
            stay readable: encrypted, a long file name would no longer fit into a folder.
        bandwidth_limit: BACKUP_BANDWIDTH_LIMIT as rclone writes it: "10M" (MiB/s), or a timetable
            like "08:00,2M 19:00,off". Empty does not limit it.
    """

    location: Location
    encryption_key: str = field(default="", repr=False)
    bandwidth_limit: str = ""

    def __str__(self) -> str:
        return f"{self.location}{', encrypted' if self.encryption_key else ''}"


def remote_environment(
    source: Location, target: BackupTarget, obscure: Callable[[str], str]
) -> Mapping[str, str]:
    """Return the variables that define the remotes `source:` and `target:`.

    Args:
        source: may be the location of the target, if only the target is used.
        obscure: rclone's own obfuscation, which it requires for passwords.
    """
    variables = _remote_of("source", source)
    if not target.encryption_key:
        return variables | _remote_of("target", target.location)
    return (
        variables
        | _remote_of("plain", target.location)
        | _remote(
            "target",
            type="crypt",
            remote="plain:",
            password=obscure(target.encryption_key),
            filename_encryption="off",
            directory_name_encryption="false",
            suffix="none",
        )
    )


def _remote_of(name: str, location: Location) -> dict[str, str]:
    if isinstance(location, Path):
        return _remote(name, type="alias", remote=str(location.absolute()))
    server = _remote(
        f"{name}s3",
        type="s3",
        provider="Other" if location.endpoint_url else "AWS",
        endpoint=location.endpoint_url or "",
        access_key_id=location.access_key,
        secret_access_key=location.secret_key,
        env_auth="false" if location.access_key else "true",
        region=location.region,
        force_path_style=str(location.is_path_style).lower(),
        no_check_bucket="true",
    )
    return server | _remote(name, type="alias", remote=f"{name}s3:{location.path}")


def _remote(name: str, **options: str) -> dict[str, str]:
    prefix = f"RCLONE_CONFIG_{name.upper()}_"
    return {f"{prefix}{option.upper()}": value for option, value in options.items() if value}


def off_site(home: Path) -> Path:
    """Return the folder in BACKUP_HOME that is the target if BACKUP_TARGET is not set."""
    return home.resolve() / OFF_SITE_FOLDER


def parse_location(
    name: str,
    *,
    endpoint_url: str | None = None,
    access_key: str = "",
    secret_key: str = "",
    region: str = "us-east-1",
) -> Location:
    """Return the location of a setting: `s3://bucket`, `s3://bucket/prefix`, or a folder."""
    if not name.startswith("s3://"):
        return Path(name)
    bucket, _, prefix = name.removeprefix("s3://").partition("/")
    if not bucket:
        raise PermanentError(f"{name!r} names no bucket: write s3://bucket or s3://bucket/prefix")
    return Bucket(
        bucket,
        endpoint_url=endpoint_url,
        access_key=access_key,
        secret_key=secret_key,
        region=region,
        is_path_style=endpoint_url is not None,
        prefix=prefix,
    )
