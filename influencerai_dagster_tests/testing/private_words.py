"""The private words that code and documents must not use, and where each of them is allowed.

`python -m influencerai_dagster_tests.testing.private_words` counts them by folder and by word; with
arguments, words or paths, it lists the places. docs/glossary.md explains the words to use instead.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from influencerai_dagster_tests.testing.texts import Kind, Piece, pieces

PROSE = frozenset(Kind) - {Kind.NAME}
NAMES = frozenset({Kind.NAME})


@dataclass(frozen=True)
class PrivateWord:
    """A word that only this project understood.

    Attributes:
        pattern: a regular expression of the whole word; a space stands for any white space.
        instead: the field's word.
        kinds: the texts in which it must not stand.
    """

    pattern: str
    instead: str
    kinds: frozenset[Kind] = frozenset(Kind)


@dataclass(frozen=True)
class Allowed:
    """A place where a word is allowed.

    Attributes:
        word: regular expression of what is found there.
        paths: glob of the files.
    """

    word: str
    paths: str
    reason: str

    def covers(self, found: "Found") -> bool:
        """Tell whether the word is allowed there."""
        is_here = fnmatchcase(found.path, self.paths)
        return is_here and re.fullmatch(self.word, found.word, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Found:
    """A private word in a text."""

    path: str
    line: int
    kind: Kind
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind} has “{self.word}”: write {self.instead}"


PRIVATE_WORDS = (
    PrivateWord(r"drain(s|ed|ing|er|ers)?", "worker, or render"),
    PrivateWord(r"(?<!spend.)ledgers?", "job queue"),
    PrivateWord(r"patience|patient(ly)?", "retry, or backoff"),
    PrivateWord(r"(give|gives|gave|given|giving) way", "yield, or is preempted"),
    PrivateWord(r"(give|gives|gave|given|giving) (it |them )?back", "requeue"),
    PrivateWord(r"(take|takes|took|taking|whose|its|their) turns?", "time slice"),
    PrivateWord(r"\Aturns?\Z", "time slice", NAMES),
    PrivateWord(r"linger(s|ed|ing)?", "idle timeout"),
    PrivateWord(r"wake( run|up)", "ensure_run"),
    PrivateWord(r"farms?", "render session"),
    PrivateWord(r"fleets?", "server pool"),
    PrivateWord(r"studio", "limits, or code location", NAMES),
    PrivateWord(r"news( hub)?", "event, or event dispatcher"),
    PrivateWord(r"bystanders?", "foreign prompt"),
    PrivateWord(r"lease keeper", "lease renewer"),
    PrivateWord(r"proofs?", "verification"),
    PrivateWord(r"(is|are) sound|sound (backups?|databases?|dumps?)", "valid"),
    PrivateWord(r"mend(s|ed|ing)?", "repair"),
    PrivateWord(r"wrong bytes", "corrupt"),
    PrivateWord(r"fates?", "retention action"),
    PrivateWord(r"verdicts?|judge(s|d|ment)?", "decision, or decide"),
    PrivateWord(r"doomed|knowledge", "object to delete, or retention context", NAMES),
    PrivateWord(r"spared?", "skipped"),
    PrivateWord(r"drafts?", "staging"),
    PrivateWord(r"put(s|ting)? (\w+ )?in(to)? (its )?place", "promote"),
    PrivateWord(r"pictures?", "image"),
    PrivateWord(r"(?<!strength.)(?-i:[Cc]lips?)(?! skip| l\b)", "video"),  # CLIP encodes text
    PrivateWord(r"footage", "rendered segments"),
    PrivateWord(r"instants?", "target time, or time"),
    PrivateWord(r"kept answers?|paid for before", "response cache, or cache hit"),
    PrivateWord(r"\A(pen|chance)\Z", "draw, or rng", NAMES),
    PrivateWord(r"\A(say|told)\Z", "log, or another verb of what it does", NAMES),
    PrivateWord(r"silent (runs?|workers?)", "stalled"),
    PrivateWord(r"anew", "again, or new", PROSE),
    PrivateWord(r"in vain", "wasted"),
    PrivateWord(r"(?<!there.)is no (?!longer\b)\w+", "is not a", PROSE),
    PrivateWord(r"no more(?! than\b| \w+s\b)", "no longer", PROSE),
    PrivateWord(r"a person", "someone, or the operator", PROSE),
)

ALLOWED = (
    Allowed(r".*", "CHANGELOG.md", "history keeps its words"),
    Allowed(r".*", "*/migrations/versions/*", "tables as they were"),
    Allowed(r".*", "*/private_words.py", "this table"),
    Allowed(r".*", "*/test_private_words.py", "tests of this table"),
    Allowed(r"clip", "influencerai_dagster/*/comfyui/*", "ComfyUI's name for the text encoder"),
    Allowed(
        r"clip", "influencerai_dagster_tests/*/comfyui/*", "ComfyUI's name for the text encoder"
    ),
    Allowed(r"picture", "influencerai_dagster/engines/ffmpeg/program.py", "a text of ffmpeg's"),
    Allowed(r"instant", "*/restore/drill.py", "older records of drills have that field"),
    Allowed(r"bystander", "*/test_progress_socket.py", "names of recorded files"),
    Allowed(r"studio", "influencerai_dagster/local/samples/draw.py", "a photo studio is drawn"),
    Allowed(r"studio", "influencerai_dagster/simulators/comfyui/*", "a photo studio is drawn"),
    Allowed(r"a person", "influencerai_dagster/simulators/*", "captions that a model writes"),
)

_COMPILED = [
    (word, re.compile(rf"\b(?:{word.pattern})\b".replace(" ", r"\s+"), re.IGNORECASE))
    for word in PRIVATE_WORDS
]
_ANY = re.compile("|".join(pattern.pattern for _, pattern in _COMPILED), re.IGNORECASE)


def find(texts: Iterable[Piece]) -> Iterator[Found]:
    """Yield every private word in these texts, also where it is allowed."""
    for piece in texts:
        if not _ANY.search(piece.text):
            continue
        for word, pattern in _COMPILED:
            for match in pattern.finditer(piece.text) if piece.kind in word.kinds else ():
                found = " ".join(match[0].split())
                line = piece.line + piece.text.count("\n", 0, match.start())
                yield Found(piece.path, line, piece.kind, found, word.instead)


@cache
def found_in_repository() -> tuple[Found, ...]:
    """Return all private words of the repository."""
    return tuple(find(pieces()))


def forbidden() -> list[Found]:
    """Return the private words that stand where they are not allowed."""
    found = found_in_repository()
    return [item for item in found if not any(place.covers(item) for place in ALLOWED)]


def main() -> None:
    """Print how many private words each folder has, or the places of those that are named."""
    found = forbidden()
    if wanted := sys.argv[1:]:
        lines = sorted(str(item) for item in found if any(word in str(item) for word in wanted))
    else:
        by_folder = Counter("/".join(item.path.split("/")[:3]) for item in found)
        by_word = Counter(item.word.lower() for item in found)
        lines = [
            f"{number:6} {name}"
            for name, number in (*by_folder.most_common(), *by_word.most_common())
        ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
