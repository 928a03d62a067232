"""Read `.env` as Docker Compose does: single quotes keep a value as it is written.

In double quotes and without quotes `$NAME`, `${NAME}` and `${NAME:-default}` are replaced, from the
environment first and then from the lines above. Whatever cannot be read is an error that names file
and line: python-dotenv's own reader replaces in single quotes too, turns a name that is not set
into nothing, and goes past lines that it cannot read.
Source: "Variable interpolation" at docs.docker.com/compose/how-tos/environment-variables.
"""

import codecs
import io
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from influencerai_dagster.errors import PermanentError

_IN_SINGLE_QUOTES = re.compile(r"\s*(?:export\s+)?(?:'[^']+'|[^=\s]+)\s*=\s*'")
_DOLLAR = re.compile(
    r"\\\$|\$(?:(?P<plain>[a-z_]\w*)"
    r"|\{(?P<braced>[a-z_]\w*)(?:(?P<operator>:?-)(?P<default>[^${}]*))?\}|(?P<other>[${(]))",
    re.ASCII | re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_env_file(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file, without those that have no value; none if it is not there.

    Args:
        path: such as `.env`.
        environment: wins over the lines above where a value names a variable.

    Raises:
        PermanentError: the file or a line cannot be read, or a value names a variable that is not
            set; the text names file and line, and no value.
    """
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(_text_of(path))):
        original = binding.original.string
        blank_lines = original[: len(original) - len(original.lstrip())].count("\n")
        where = f"{path}, line {binding.original.line + blank_lines}"
        has_name = binding.key is None or _NAME.fullmatch(binding.key)
        if binding.error or not has_name:
            raise PermanentError(
                f"{where} cannot be read. Write NAME=value, and close a quote that was opened"
            )
        if binding.key is not None and binding.value is not None:
            found[binding.key] = _meant(binding, {**found, **environment}, where)
    return {name: value for name, value in found.items() if value}


def _text_of(path: Path) -> str:
    if not path.exists() or path.is_dir():  # a virtual environment may have that name
        return ""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error
    if data.startswith(_UTF16_MARKS) or b"\0" in data:
        raise PermanentError(
            f"{path} is not UTF-8, it looks like UTF-16, which PowerShell writes with >. Save it "
            "as UTF-8"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PermanentError(
            f"{path}, line {line}: a character is not UTF-8, the file may come from a Windows "
            "editor. Save it as UTF-8"
        ) from None


def _meant(binding: Binding, variables: Mapping[str, str], where: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        name = match["plain"] or match["braced"]
        if name is None and match["other"] is None:
            return "$"  # it was \$
        default = match["default"]
        if name is None or (default is None and name not in variables):
            raise PermanentError(  # without the name: it may be a part of a password
                f"{where}: {binding.key} has a $ that does not begin the name of a variable "
                "which is set. Put the value into single quotes if the $ belongs to it"
            )
        value = variables.get(name)
        is_replaced = value is None or (match["operator"] == ":-" and not value)
        return default if default is not None and is_replaced else value or ""

    if _IN_SINGLE_QUOTES.match(binding.original.string):
        return binding.value or ""
    return _DOLLAR.sub(replaced, binding.value or "")
