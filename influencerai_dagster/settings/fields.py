"""How the text of a variable becomes a value: sizes, durations, URLs, ports.

Each type refuses with a sentence what cannot be meant; model.py says which setting has which type.
"""

import re
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AnyUrl, BeforeValidator, Field, TypeAdapter, UrlConstraints
from pydantic_settings import NoDecode

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KIB|MIB|GIB|TIB)?", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"B": 1}
_SIZE_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)}
_SIZE_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", start=1)}
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d)|0", re.ASCII)
# SQLAlchemy knows no postgres://, and psycopg2 is the driver that is installed.
_DATABASE_URL = TypeAdapter(
    Annotated[
        AnyUrl,
        UrlConstraints(host_required=True, allowed_schemes=["postgresql", "postgresql+psycopg2"]),
    ]
)
_DURATION_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_size(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever it was given
    """Turn "100MB" into bytes (MB is 1000², MiB is 1024²); a plain number is bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError('is not a size; use a number with B, KB, MB, GB, MiB or GiB, like "100MB"')
    return int(Decimal(match[1]) * _SIZE_UNITS[(match[2] or "B").upper()])


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - as above
    """Turn "7d", "12h", "30m", "45s" or "0" into a timedelta."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError('is not a duration; use up to 6 digits with s, m, h or d, like "7d"')
    return timedelta(**{_DURATION_UNITS[match[2] or "s"]: int(match[1] or 0)})


def _parse_urls(value: Any) -> Any:  # noqa: ANN401 - as above
    if not isinstance(value, str):
        return value
    urls = tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
    if not urls:
        raise ValueError("names no URL")
    for url in urls:
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
            raise ValueError(f"{url!r} is not an http:// or https:// URL")
    return urls


def _check_database_url(value: str) -> str:
    _DATABASE_URL.validate_python(value)
    return value


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError('is no time zone; use a name like "Europe/Berlin" or "UTC"') from None
    return value


def _split(value: Any) -> Any:  # noqa: ANN401 - as above
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _check_host(value: str) -> str:
    if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", value):
        raise ValueError(
            f"{value!r} is no host name; use a name or an address, with :port unless that is 80 or "
            '443, like "dagster.example.com"'
        )
    return value


def _check_network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f'{error}; use an address or a network, like "10.0.0.0/24"') from None


SizeBytes = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
DurationOrZero = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
Duration = Annotated[DurationOrZero, Field(gt=timedelta(0))]
FiniteFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
HostList = Annotated[
    tuple[Annotated[str, AfterValidator(_check_host)], ...], NoDecode, BeforeValidator(_split)
]
NetworkList = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_check_network)], ...],
    NoDecode,
    BeforeValidator(_split),
]
UrlList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_urls)]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveInt = Annotated[int, Field(ge=1)]
DatabaseUrl = Annotated[str, BeforeValidator(_check_database_url)]
TimeZone = Annotated[str, BeforeValidator(_check_time_zone)]
