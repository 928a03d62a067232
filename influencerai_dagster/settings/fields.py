"""Turn the text of a variable into a value: sizes, durations, addresses, folders, keys.

Each type rejects a bad text with a sentence; model.py says which setting has which type, and
texts.py what all of them have in common.
"""

import re
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from influencerai_dagster.core.database_urls import canonical_database_url, libpq_parameters
from influencerai_dagster.settings.texts import only_ascii, without_invisible

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KIB|MIB|GIB|TIB)?", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"B": 1}
_SIZE_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)}
_SIZE_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", start=1)}
_DURATION = re.compile(
    r"(\d{1,9})\s*(?:(s|secs?|seconds?|)|(m|mins?|minutes?)|(h|hrs?|hours?)|(d|days?)|(w|weeks?))",
    re.ASCII | re.IGNORECASE,
)
_DURATION_UNITS = ("seconds", "minutes", "hours", "days", "weeks")
_SHORTEST_WITHOUT_UNIT = timedelta(minutes=1)
_LONGEST = timedelta(days=999_999)
_HOST = re.compile(r"[\w.:-]+")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)
_VARIABLE = re.compile(r"(^|/)\$\w+(/|$)|\$[{(]\w+[)}]", re.ASCII)
_SCHEME = re.compile(r"[^/]*:")
_LIKE_A_FOLDER = re.compile(r"~|\.{0,2}/|\.{1,2}$")
_SLASHES_OF_AN_ORIGIN = 2
MIN_JWT_SECRET_LENGTH = 32
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")


def parse_size(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever it was given
    """Turn "100MB" into bytes (MB is 1000², MiB is 1024²); a plain number is bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError('is not a size; use a number with B, KB, MB, GB, MiB or GiB, like "100MB"')
    return int(Decimal(match[1]) * _SIZE_UNITS[(match[2] or "B").upper()])


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - as above
    """Turn "7d", "7 days", "12h", "30m" or "45s" into a timedelta; "3600" is seconds.

    A small number alone is refused: "24" is as likely hours, and "7" days.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError('is not a duration; use a number with s, m, h, d or w, like "7d"')
    unit = next(
        name
        for name, found in zip(_DURATION_UNITS, match.groups()[1:], strict=True)
        if found is not None
    )
    duration = timedelta(**{unit: int(match[1])})
    if match[0].isdigit() and timedelta(0) < duration < _SHORTEST_WITHOUT_UNIT:
        raise ValueError(f"has no unit: write {match[0]}s, {match[0]}m, {match[0]}h or {match[0]}d")
    if duration > _LONGEST:
        raise ValueError(f"is too long; the longest is {_LONGEST.days}d")
    return duration


def parse_path(value: Any) -> Any:  # noqa: ANN401 - as above
    """Turn the name of a folder or file into an absolute path; `~` is the home folder."""
    if isinstance(value, str):
        value = _path(value)
    return value.absolute() if isinstance(value, Path) else value


def parse_program(value: Any) -> Any:  # noqa: ANN401 - as above
    """Turn a program's path into an absolute one; a bare name is looked for on PATH."""
    return Path(value) if isinstance(value, str) and "/" not in value else parse_path(value)


def parse_backup_target(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return `s3://bucket/prefix` or an absolute folder as text.

    A folder has to look like one, so that an address with a typing error does not become one.
    """
    if not isinstance(value, str):
        return value
    scheme, mark, rest = value.partition("://")
    if mark and scheme.lower() == "s3":
        bucket, _, prefix = rest.partition("/")
        return f"s3://{parse_bucket(bucket)}/{prefix}".rstrip("/")
    if mark:
        raise ValueError(
            "is neither a folder nor s3://bucket/prefix; the address of an S3 server that is not "
            "AWS (R2, Google, Backblaze, MinIO) is BACKUP_S3_ENDPOINT"
        )
    folder = str(parse_path(value))
    if not _LIKE_A_FOLDER.match(value):
        raise ValueError(
            "is neither a folder (/mnt/backup, ~/backup) nor s3://bucket/prefix; if it is meant as "
            f"a folder, write ./{value}"
        )
    return folder


def parse_bucket(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return the name of a bucket."""
    if isinstance(value, str) and not _BUCKET.fullmatch(value):
        raise ValueError(
            "names no bucket; its name has 3 to 63 letters, digits, dots and hyphens, without "
            "address, scheme and folder"
        )
    return value


def parse_http_url(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return an http:// or https:// address without the slash at its end."""
    return _http_url(value, may_have="") if isinstance(value, str) else value


def parse_urls(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return addresses of ComfyUI, which may have user and password, or ?token=…."""
    if not isinstance(value, str):
        return value
    urls = tuple(_http_url(url.strip(), may_have="@?") for url in value.split(",") if url.strip())
    if not urls:
        raise ValueError("names no URL")
    return urls


def parse_node_classes(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return names of ComfyUI's node classes, which may have blanks in them."""
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(",") if name.strip())


def parse_names(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return names of variables; one may end in *."""
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*\*?", name, re.ASCII):
            raise ValueError(
                f'"{name}" is not the name of a variable; use names like "WANDB_MODE,MY_*"'
            )
    return names


def parse_hosts(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return host names or addresses, each with `:port` or without."""
    if not isinstance(value, str):
        return value
    hosts = tuple(host.strip() for host in value.split(",") if host.strip())
    for host in hosts:
        if not _AUTHORITY.fullmatch(host):
            raise ValueError(
                f'"{host}" is not a host name; use a name or an address, with :port unless that is '
                '80 or 443, like "dagster.example.com"'
            )
    return hosts


def parse_origins(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return origins of web pages, `https://host` with `:port` or without; `*` is all of them."""
    if not isinstance(value, str):
        return value
    origins = tuple(origin.strip() for origin in value.split(",") if origin.strip())
    for origin in origins:
        if origin != "*" and _http_url(origin, may_have="").count("/") > _SLASHES_OF_AN_ORIGIN:
            raise ValueError(
                f'"{origin}" is not an origin; use scheme and host without a path, like '
                '"https://studio.example.com"'
            )
    return tuple(origin.rstrip("/") for origin in origins)


def parse_networks(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return addresses and networks."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f'{error}; use an address or a network, like "10.0.0.0/24"') from None


def _dagster_database_url(value: str) -> str:
    """Refuse what Dagster, which reads the variable itself, would not read as libpq does."""
    from sqlalchemy import make_url  # noqa: PLC0415 - takes 0.2 s to import
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - as above

    meant = libpq_parameters(canonical_database_url(value))
    try:
        url = make_url(value)
        read = (
            url.drivername.partition("+")[0],
            url.username,
            url.password,
            url.host,
            url.database,
        )
    except (ArgumentError, ValueError):
        read = None
    host = None if "," in meant.get("host", "") or "/" in meant.get("host", "") else meant["host"]
    if read != ("postgresql", meant.get("user"), meant.get("password"), host, meant["dbname"]):
        raise ValueError(
            "is read by Dagster itself, which takes fewer forms: postgresql://, one host, or "
            "several and sockets as ?host=…&port=… at its end, no schema= and no blank in a name"
        )
    return value


def _path(text: str) -> Path:
    variable = _VARIABLE.search(text)
    if variable is not None and not Path(text[: variable.end()]).exists():
        name = variable[0].strip("/")
        raise ValueError(f"has {name}, which is not replaced by its value: write the whole path")
    if _SCHEME.match(text):
        raise ValueError(f"is not a folder of this machine; if it is meant as one, write ./{text}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(
            "begins with ~, and the home folder of that user is not known: write the whole path"
        ) from None


def _http_url(text: str, *, may_have: str) -> str:
    """Return the address; it may have "@" (user and password) and "?" (a query)."""
    without_invisible(text)
    try:
        parts = urlsplit(text)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if host is None or parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host):
        raise ValueError("is not an address like http://host:8188 or https://host")
    if parts.fragment or re.search(r"\s", text):
        raise ValueError("has a # or a blank, which would not be sent: remove it")
    if parts.query and "?" not in may_have:
        raise ValueError("has a ?, and what follows it would not be sent: remove it")
    if "@" in parts.netloc and "@" not in may_have:
        raise ValueError("has a user or password, which would not be sent: remove it")
    return SplitResult(
        parts.scheme, parts.netloc, parts.path.rstrip("/"), parts.query, fragment=""
    ).geturl()


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of names, a name too long
        raise ValueError('is not a time zone; use a name like "Europe/Berlin" or "UTC"') from None
    return value


def _check_jwt_secret(value: str) -> str:
    only_ascii(value)
    if len(value) < MIN_JWT_SECRET_LENGTH:
        raise ValueError(
            f"has {len(value)} characters; at least {MIN_JWT_SECRET_LENGTH} are needed, so that it "
            "cannot be guessed. Make one with `openssl rand -base64 48`"
        )
    return value


def _secret(check: Any) -> BeforeValidator:  # noqa: ANN401 - texts.py types them
    return BeforeValidator(lambda value: check(value) if isinstance(value, str) else value)


SizeBytes = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
DurationOrZero = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
FiniteFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
HttpUrl = Annotated[str, BeforeValidator(parse_http_url)]
UrlList = Annotated[tuple[str, ...], BeforeValidator(parse_urls)]
HostList = Annotated[tuple[str, ...], BeforeValidator(parse_hosts)]
OriginList = Annotated[tuple[str, ...], BeforeValidator(parse_origins)]
NetworkList = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(parse_networks)]
NameList = Annotated[tuple[str, ...], BeforeValidator(parse_names)]
NodeClasses = Annotated[tuple[str, ...], BeforeValidator(parse_node_classes)]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveInt = Annotated[int, Field(ge=1)]
AbsolutePath = Annotated[Path, BeforeValidator(parse_path)]
ProgramPath = Annotated[Path, BeforeValidator(parse_program)]
BackupTargetText = Annotated[str, BeforeValidator(parse_backup_target)]
BucketName = Annotated[str, BeforeValidator(parse_bucket)]
Secret = Annotated[SecretStr, _secret(without_invisible)]
JwtSecret = Annotated[SecretStr, _secret(_check_jwt_secret)]
ApiKey = Annotated[SecretStr, _secret(only_ascii)]
KeyId = Annotated[str, _secret(only_ascii)]
DatabaseUrl = Annotated[str, AfterValidator(canonical_database_url)]
DagsterDatabaseUrl = Annotated[str, AfterValidator(_dagster_database_url)]
TimeZone = Annotated[str, BeforeValidator(_check_time_zone)]
