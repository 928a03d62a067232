"""Convert object keys to the names that rclone uses for them, and back.

Follows "Restricted filenames" of rclone.org/overview: a control character is its symbol of U+2400
to U+2421, and a symbol that is in the key itself has U+201B before it. Measured with 1.75.2, for
buckets and for folders. So a name never has a line end, and names can be lines of a file.
"""

import re

_QUOTE = "\u201b"
_CONTROLS = {chr(code): chr(0x2400 + code) for code in range(1, 0x20)} | {"\x7f": "\u2421"}
_PLAIN = {symbol: control for control, symbol in _CONTROLS.items()}
_SHOWN = {ord(control): symbol for control, symbol in _CONTROLS.items()} | {
    ord(sign): _QUOTE + sign for sign in (*_PLAIN, _QUOTE)
}
_ENCODED = re.compile(f"{_QUOTE}([{''.join(_PLAIN)}{_QUOTE}])|([{''.join(_PLAIN)}])")


def shown_name(key: str) -> str:
    """Return rclone's name for a key."""
    return key.translate(_SHOWN)


def plain_key(name: str) -> str:
    """Return the key of rclone's name."""
    return _ENCODED.sub(lambda found: found[1] or _PLAIN[found[2]], name)
