"""Pair caption files with images by their names alone.

kohya and the tools that write captions name them img001.txt, img001.caption or img001.jpg.txt, and
a Mac, Windows and S3 differ in case and in Unicode composition (NFC, NFD). Names that
differ only in case or composition are one name here, unless that leaves several candidates.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

CAPTION_SUFFIXES = (".txt", ".caption")
"""In order of preference."""
_TABLES = frozenset({"metadata.jsonl", "metadata.csv"})  # Hugging Face's imagefolder
_ABOUT_ALL = frozenset({"readme.txt", "license.txt", "licence.txt"})
_TABLE_PROBLEM = "captions are read from one text file for each image, not from a table"
_NAMES: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: unicodedata.normalize("NFC", name),
    lambda name: unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()),
)


@dataclass(frozen=True)
class Pairing:
    """Captions by the name of their image, and caption files without an image, with the reason."""

    caption_of: dict[str, str]
    unpaired: dict[str, str]


def is_caption_file(name: str) -> bool:
    """Whether a file holds a caption, or captions, by its name."""
    lower = name.lower()
    return lower in _TABLES or (lower.endswith(CAPTION_SUFFIXES) and lower not in _ABOUT_ALL)


def is_about_all(name: str) -> bool:
    """Whether a file describes a whole folder, by its name (readme.txt); it is not a caption."""
    return name.lower() in _ABOUT_ALL


def pair_captions(images: Collection[str], captions: Collection[str]) -> Pairing:
    """Find the caption file of every image.

    The same letters win over another composition, and that over another case; img001.jpg.txt wins
    over img001.txt, which two images of one stem (img001.jpg, img001.png) share.

    Args:
        images: file names of uploads.
        captions: file names for which `is_caption_file` holds.
    """
    unpaired = {name: _TABLE_PROBLEM for name in captions if name.lower() in _TABLES}
    caption_of: dict[str, str] = {}
    for normal in _NAMES:
        taken = {*caption_of.values(), *unpaired}
        by_name: dict[str, list[str]] = defaultdict(list)
        for caption in sorted(set(captions) - taken):
            by_name[normal(_without_suffix(caption)) + _suffix(caption)].append(caption)
        images_of: dict[str, list[str]] = defaultdict(list)
        for image in sorted(set(images) - set(caption_of)):
            found = _best(image, normal, by_name)
            if len(found) == 1:
                images_of[found[0]].append(image)
            for caption in found[1:] and found:
                unpaired[caption] = f"{image} has several of this name: {', '.join(found)}"
        for caption, found in images_of.items():
            if len({PurePosixPath(image).stem for image in found}) > 1:
                unpaired[caption] = f"it could be of {' or of '.join(found)}"
            elif caption not in unpaired:
                caption_of |= dict.fromkeys(found, caption)
    image_of = _images_by_name(caption_of)
    for caption in set(captions) - set(caption_of.values()) - set(unpaired):
        named = image_of.get(_NAMES[-1](_without_suffix(caption)))
        why = f"{named} has {caption_of[named]}" if named else "no image has its name"
        unpaired[caption] = why
    return Pairing(caption_of, dict(sorted(unpaired.items())))


def _images_by_name(images: Collection[str]) -> dict[str, str]:
    """Return the first image of every name, with its ending and without."""
    found: dict[str, str] = {}
    for image in images:
        for name in (image, PurePosixPath(image).stem):
            found.setdefault(_NAMES[-1](name), image)
    return found


def _best(image: str, normal: Callable[[str], str], by_name: dict[str, list[str]]) -> list[str]:
    """Return the caption files of an image's best name; of several, none can be chosen."""
    for stem in (image, PurePosixPath(image).stem):
        for suffix in CAPTION_SUFFIXES:
            if found := by_name.get(normal(stem) + suffix):
                return found
    return []


def _suffix(caption: str) -> str:
    return next((end for end in CAPTION_SUFFIXES if caption.lower().endswith(end)), "")


def _without_suffix(caption: str) -> str:
    return caption[: len(caption) - len(_suffix(caption))]
