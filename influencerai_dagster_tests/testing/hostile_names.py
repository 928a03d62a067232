"""Names that a user could choose to leave the place that is theirs."""

HOSTILE_NAMES = {
    "parent folder": "../x",
    "only dots": "..",
    "absolute": "/etc/passwd",
    "backslash": "..\\x",
    "nul": "a\0b",
    "newline": "a\n",
    "carriage return": "a\r",
    "unicode look-alike": "d\u0435mo",
    "full-width": "\uff44emo",
    "unicode digit": "\u0661\u0662",
    "unicode slash": "a\u2215b",
    "zero width": "de\u200bmo",
    "300 characters": "a" * 300,
    "empty": "",
    "blank": " ",
    "upper case": "Demo",
    "leading dash": "-rf",
    "percent": "%2e%2e%2f",
    "quote": "a'; DROP TABLE jobs; --",
}
