"""Parse the command lines of the three trainers, by options.json.

The table holds every option of recorded/kohya/args_*_network.json with its type, default and
choices; a test compares them.
"""

import argparse
import json
from pathlib import Path
from typing import Any


def _int_or_float(text: str) -> int | float:
    return float(text) if "." in text or "e" in text.lower() else int(text)


_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "Path": Path,
    "int_or_float": _int_or_float,
}


def parser(trainer: str) -> argparse.ArgumentParser:
    """Return the parser of one trainer: a bad option ends the program with exit code 2."""
    table = json.loads(Path(__file__).with_name("options.json").read_text(encoding="utf-8"))
    made = argparse.ArgumentParser(prog=f"{trainer}.py", description="SIMULATED")
    for name, option in {**table["common"], **table[trainer]}.items():
        if not option:
            made.add_argument(name, action="store_true")
            continue
        details = {key: option[key] for key in ("default", "choices", "nargs") if key in option}
        made.add_argument(name, type=_TYPES[option["type"]], **details)
    return made
