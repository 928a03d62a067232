"""Parse database URLs as libpq does, and return the one form that SQLAlchemy reads too.

libpq takes more than SQLAlchemy: `postgres://`, sockets, several hosts with one of them the
primary. All of it comes to `postgresql://user:password@host:port/name?option=value`, where several
hosts, or a socket's folder, are the options `host` and `port`.
Source: "Connection URIs" of PostgreSQL's chapter on libpq; Prisma's "Connection URLs".
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

import psycopg2
import psycopg2.extensions

_SCHEME = re.compile(r"(postgres(?:ql)?)(?:\+psycopg2)?://", re.IGNORECASE)
_PLAIN_HOST = re.compile(r"[^/,@]+")
_NO_HOST = re.compile(r"""[\s@$(){}<>"']""")
_MAX_PORT = 65535
_EXAMPLE = "postgresql://user:password@host:5432/database"
_ENCODED = (
    f"write {_EXAMPLE}, and in a password / as %2F, @ as %40, : as %3A, # as %23, ? as %3F and % "
    "as %25"
)


def canonical_database_url(text: str) -> str:
    """Return a URL of a database as libpq and SQLAlchemy read it.

    Raises:
        ValueError: it is none; the text shows no password.
    """
    parameters = libpq_parameters(text)
    ports = [port for port in parameters.get("port", "").split(",") if port]
    if _NO_HOST.search(parameters.get("host", "")) or not all(map(_is_port, ports)):
        raise ValueError(f"has a host or port that cannot be one: {_ENCODED}")
    if not parameters.get("dbname"):
        raise ValueError("names no database: add its name after the last '/'")
    if not any(parameters.get(name) for name in ("host", "hostaddr", "service")):
        raise ValueError("names no host: a socket's folder is ?host=/var/run/postgresql at its end")
    return database_url(parameters)


def libpq_parameters(url: str) -> dict[str, str]:
    """Return what a URL says as libpq's keywords and values, decoded.

    Raises:
        ValueError: it is not a URL of PostgreSQL; the text shows no password.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError(f"is not a URL of PostgreSQL: write {_EXAMPLE}")
    plain, search_path = _without_prisma(f"postgresql://{url[scheme.end() :]}")
    try:
        parameters = dict(psycopg2.extensions.parse_dsn(plain))
    except psycopg2.Error as error:
        raise ValueError(_why_refused(str(error))) from None
    except UnicodeDecodeError:
        raise ValueError(f"has a % that is not one of UTF-8 (ü is %C3%BC): {_ENCODED}") from None
    if search_path:
        options = f"{parameters.get('options', '')} -csearch_path={search_path}"
        parameters["options"] = options.strip()
    return parameters


def database_name(url: str) -> str:
    """Return the name of the database that a URL leads to, decoded."""
    return libpq_parameters(url).get("dbname", "")


def in_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server, for the same user."""
    return database_url(libpq_parameters(url) | {"dbname": name})


def database_url(parameters: Mapping[str, str]) -> str:
    """Return the URL that has libpq's keywords and values."""
    rest = {name: value for name, value in parameters.items() if value.strip(",")}
    user, password = rest.pop("user", ""), rest.pop("password", None)
    credentials = quote(user, safe="")
    if password is not None:
        credentials += f":{quote(password, safe='')}"
    name = quote(rest.pop("dbname", ""), safe="")
    address = ""
    if _PLAIN_HOST.fullmatch(rest.get("host", "")) and "," not in rest.get("port", ""):
        host = rest.pop("host")
        address = f"[{host}]" if ":" in host else quote(host, safe="")
        if rest.get("port"):
            address += f":{rest.pop('port')}"
    at = f"{credentials}@" if credentials else ""
    options = f"?{urlencode(sorted(rest.items()), quote_via=quote)}" if rest else ""
    return f"postgresql://{at}{address}/{name}{options}"


def _without_prisma(url: str) -> tuple[str, str | None]:
    """Take the options that only Prisma knows from a URL; return its schema beside it.

    The stack that this project replaces used Prisma, whose URLs end in ?schema=public.
    """
    base, mark, query = url.partition("?")
    if not mark or "schema=" not in query:
        return url, None
    options = parse_qsl(query, keep_blank_values=True)
    schema = next((value for name, value in options if name == "schema"), None)
    rest = urlencode([item for item in options if item[0] != "schema"], quote_via=quote)
    return f"{base}?{rest}" if rest else base, None if schema == "public" else schema


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT


def _why_refused(found: str) -> str:
    """Say what is wrong without libpq's text, which may quote a password."""
    option = re.search(r'invalid URI query parameter: "(\w+)"', found)
    if option is not None:
        return f"has the option {option[1]!r}, which PostgreSQL's libpq does not know: remove it"
    return f"cannot be read by PostgreSQL's libpq: {_ENCODED}"
