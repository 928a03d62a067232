"""Clean the text of every value: which blanks, quotes and characters belong to it.

Kubernetes keeps the newline at the end of a secret's file, Docker keeps the quotes of an env file,
and copied keys bring invisible characters.
"""

import re
import unicodedata

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’"}
_SECRET_WORDS = ("SECRET", "KEY", "PASSWORD")
_READ_BY_DAGSTER = {"DAGSTER_DATABASE_URL"}  # by dagster.yaml
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def is_secret(name: str) -> bool:
    """Tell whether a variable holds a secret, which no text may show."""
    return any(word in name.upper() for word in _SECRET_WORDS)


def set_by_kubernetes(name: str, text: str) -> bool:
    """Tell whether a port is the address of a Service that has our variable's name by chance.

    Kubernetes sets DAGSTER_WEBSERVER_PORT=tcp://10.0.0.1:80 in every pod beside a Service
    `dagster-webserver`: kubernetes.io/docs/concepts/services-networking/service.
    """
    return name.upper().endswith("_PORT") and _SERVICE_ADDRESS.match(text) is not None


def cleaned(name: str, text: str) -> str:
    """Return the text as it was meant: without the newline at its end, and blanks around it.

    Raises:
        ValueError: it has quotes around it or a control character; a secret has blanks around it.
            The text does not show the value.
    """
    if name in _READ_BY_DAGSTER and text != text.strip():
        raise ValueError(
            "has a newline or blanks at its start or end, and Dagster reads this variable as it "
            "is: remove them"
        )
    text = text.strip("\r\n")
    if is_secret(name):
        if text != text.strip():
            raise ValueError("has blanks at its start or end: remove them")
    else:
        text = text.strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        raise ValueError(
            "has quotes around it: they would belong to the value, as Docker keeps the quotes of "
            "an env file. Remove them"
        )
    _refuse(text, {"Cc", "Cs", "Zl", "Zp"}, "a control character")
    for end in {text[:1], text[-1:]}:  # within, an emoji may have some
        without_invisible(end)
    return text


def without_invisible(text: str) -> str:
    """Return the text; ValueError if it has an invisible character."""
    _refuse(text, {"Cf"}, "an invisible character")
    return text


def only_ascii(text: str) -> str:
    """Return the text of a key; ValueError if it has a character that no key has."""
    for place, char in enumerate(text):
        if not " " <= char <= "~":
            raise ValueError(
                f"has {_name_of(char)} after {place} characters, which is in no key: copy the "
                "whole key again"
            )
    return text


def _refuse(text: str, categories: set[str], what: str) -> None:
    for place, char in enumerate(text):
        if unicodedata.category(char) in categories:
            raise ValueError(
                f"has {what} ({_name_of(char)}) after {place} characters: type it again"
            )


def _name_of(char: str) -> str:
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip()
