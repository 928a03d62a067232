"""Who is in the picture and where: plain values from seed, prompt text and LoRAs; no pixels here.

Without a LoRA every seed shows somebody else. A LoRA pulls face, hair and eyes towards one person,
the more the higher its strength; clothes and place still follow the prompt and the seed.
"""

import hashlib
import random
import re
from dataclasses import dataclass
from typing import Literal

Rgb = tuple[int, int, int]
HairStyle = Literal["long", "bob", "bun", "curly", "short"]
Place = Literal["studio", "beach", "forest", "city", "night", "sunset"]

_SKINS: tuple[Rgb, ...] = (
    (255, 224, 196),
    (246, 205, 172),
    (228, 178, 138),
    (198, 142, 104),
    (154, 104, 72),
    (112, 74, 52),
)
_HAIRS: tuple[Rgb, ...] = (
    (38, 30, 34),
    (74, 46, 34),
    (122, 74, 44),
    (176, 112, 58),
    (226, 184, 108),
    (158, 62, 42),
    (206, 126, 150),
    (96, 92, 140),
)
_EYES: tuple[Rgb, ...] = ((84, 58, 40), (58, 108, 140), (74, 128, 92), (120, 92, 48), (92, 98, 110))
_COLOURS: dict[str, Rgb] = {
    "red": (206, 62, 64),
    "blue": (64, 104, 190),
    "green": (72, 148, 104),
    "yellow": (240, 200, 84),
    "orange": (236, 142, 70),
    "purple": (132, 92, 176),
    "pink": (236, 140, 170),
    "black": (52, 50, 58),
    "white": (242, 240, 236),
    "teal": (58, 150, 152),
    "beige": (222, 202, 172),
    "grey": (140, 144, 152),
}
_HAIR_WORDS: dict[str, Rgb] = {
    "black": (38, 30, 34),
    "brown": (104, 64, 42),
    "blonde": (230, 190, 112),
    "blond": (230, 190, 112),
    "red": (164, 62, 38),
    "pink": (230, 140, 170),
    "blue": (88, 112, 184),
    "silver": (200, 202, 210),
}
_PLACES: dict[Place, tuple[str, ...]] = {
    "beach": ("beach", "sea", "ocean", "island", "summer"),
    "forest": ("forest", "park", "nature", "garden", "mountain", "hiking", "trees"),
    "city": ("city", "street", "urban", "cafe", "café", "office", "rooftop"),
    "night": ("night", "club", "stars", "neon", "concert"),
    "sunset": ("sunset", "sunrise", "golden", "evening"),
    "studio": ("studio", "portrait", "plain", "indoor"),
}
_STYLES: tuple[HairStyle, ...] = ("long", "bob", "bun", "curly", "short")
_TAKES_OVER = 0.4


@dataclass(frozen=True)
class Influence:
    """A LoRA applied to a model: the person it was trained on, as a number, and its strength."""

    person: int
    strength: float


@dataclass(frozen=True)
class Person:
    """What stays the same from picture to picture of one character."""

    skin: Rgb
    hair: Rgb
    eyes: Rgb
    hair_style: HairStyle
    face_width: float
    eye_distance: float
    has_freckles: bool
    has_glasses: bool


@dataclass(frozen=True)
class Setting:
    """What changes with prompt and seed: clothes, place, pose.

    Attributes:
        lean: −1 to 1, where the head is turned.
        smile: 0 to 1.
    """

    place: Place
    outfit: Rgb
    accent: Rgb
    backdrop: Rgb
    lean: float
    smile: float
    has_earrings: bool


def person_of(number: int) -> Person:
    """Draw one person from a number, always the same from the same number."""
    chance = random.Random(number)  # noqa: S311 - looks, no secret
    return Person(
        skin=chance.choice(_SKINS),
        hair=chance.choice(_HAIRS),
        eyes=chance.choice(_EYES),
        hair_style=chance.choice(_STYLES),
        face_width=chance.uniform(0.86, 1.06),
        eye_distance=chance.uniform(0.92, 1.08),
        has_freckles=chance.random() < 0.3,  # noqa: PLR2004 - a share
        has_glasses=chance.random() < 0.2,  # noqa: PLR2004 - a share
    )


def influenced_person(number: int, prompt: str, influences: tuple[Influence, ...]) -> Person:
    """Pull the person of a number towards each LoRA's person; words about hair come last."""
    person = person_of(number)
    for influence in influences:
        person = _pull(person, person_of(influence.person), influence.strength)
    colour = re.search(rf"\b({'|'.join(_HAIR_WORDS)})[\w -]{{0,12}} hair", prompt.lower())
    if colour is None:
        return person
    return Person(**{**person.__dict__, "hair": _HAIR_WORDS[colour[1]]})


def _pull(start: Person, goal: Person, strength: float) -> Person:
    share = min(max(strength, 0.0), 1.0)
    marked = goal if share >= _TAKES_OVER else start
    return Person(
        skin=mix(start.skin, goal.skin, share),
        hair=mix(start.hair, goal.hair, share),
        eyes=mix(start.eyes, goal.eyes, share),
        hair_style=marked.hair_style,
        face_width=start.face_width + (goal.face_width - start.face_width) * share,
        eye_distance=start.eye_distance + (goal.eye_distance - start.eye_distance) * share,
        has_freckles=marked.has_freckles,
        has_glasses=marked.has_glasses,
    )


def setting_of(seed: int, prompt: str) -> Setting:
    """Choose clothes, place and pose from words of the prompt, else from seed and prompt."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    chance = random.Random(digest)  # noqa: S311 - looks, no secret
    words = set(re.findall(r"[^\W\d_]+", prompt.lower()))
    named = [place for place, hints in _PLACES.items() if words & set(hints)]
    garment = "dress|shirt|jacket|coat|sweater|top|hoodie|t-shirt|blouse|outfit|suit|bikini"
    worn = re.search(rf"\b({'|'.join(_COLOURS)})[\w -]{{0,12}} ({garment})", prompt.lower())
    colours = list(_COLOURS.values())
    return Setting(
        place=named[0] if named else chance.choice(list(_PLACES)),
        outfit=_COLOURS[worn[1]] if worn else chance.choice(colours),
        accent=chance.choice(colours),
        backdrop=chance.choice(colours),
        lean=chance.uniform(-1, 1),
        smile=chance.uniform(0.3, 1),
        has_earrings=chance.random() < 0.4,  # noqa: PLR2004 - a share
    )


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Mix two colours; share 0 is the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
