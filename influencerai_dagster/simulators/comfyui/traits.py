"""Choose who is in an image and where, as plain values from seed, prompt and LoRAs.

Without a LoRA every seed shows another person. A LoRA pulls face, hair and eyes towards the person
that the captions of its training describe, the more the higher its strength; clothes, background
and time of day follow the prompt and the seed.
"""

import hashlib
import random
import re
from dataclasses import dataclass, replace

from influencerai_dagster.simulators.comfyui.descriptions import (
    Background,
    HairStyle,
    Rgb,
    TimeOfDay,
    background_in,
    looks_in,
    time_in,
)

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
_STYLES: tuple[HairStyle, ...] = ("long", "bob", "bun", "curly", "short")
_BACKGROUNDS: tuple[Background, ...] = ("studio", "beach", "forest", "mountain", "city", "indoors")
_TIMES: tuple[TimeOfDay, ...] = ("day", "day", "sunset", "night")
_TAKES_OVER = 0.4


@dataclass(frozen=True)
class Influence:
    """A LoRA applied to a model: the person that it was trained on, and its strength.

    Attributes:
        person: a number that chooses what the captions do not describe.
        captions: the words that it was trained with.
    """

    person: int
    strength: float
    captions: str = ""


@dataclass(frozen=True)
class Person:
    """What stays the same from image to image of one character."""

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
    """What changes with prompt and seed: clothes, background, pose.

    Attributes:
        lean: −1 to 1, where the head is turned.
        smile: 0 to 1.
    """

    background: Background
    time: TimeOfDay
    outfit: Rgb
    accent: Rgb
    backdrop: Rgb
    lean: float
    smile: float
    has_earrings: bool


def person_of(number: int) -> Person:
    """Draw one person from a number, always the same from the same number."""
    rng = random.Random(number)  # noqa: S311 - looks, no secret
    return Person(
        skin=rng.choice(_SKINS),
        hair=rng.choice(_HAIRS),
        eyes=rng.choice(_EYES),
        hair_style=rng.choice(_STYLES),
        face_width=rng.uniform(0.86, 1.06),
        eye_distance=rng.uniform(0.92, 1.08),
        has_freckles=rng.random() < 0.3,  # noqa: PLR2004 - a share
        has_glasses=rng.random() < 0.2,  # noqa: PLR2004 - a share
    )


def influenced_person(number: int, prompt: str, influences: tuple[Influence, ...]) -> Person:
    """Pull the person of a number towards each LoRA's person; words of the prompt come last."""
    person = person_of(number)
    for influence in influences:
        looks = looks_in(influence.captions)
        if looks:  # captions would name them
            looks = {"has_glasses": False, "has_freckles": False} | looks
        person = _pull(person, replace(person_of(influence.person), **looks), influence.strength)
    return replace(person, **looks_in(prompt))


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
    """Choose clothes, background and pose from words of the prompt, otherwise from the seed."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311 - looks, no secret
    garment = "dress|shirt|jacket|coat|sweater|top|hoodie|t-shirt|blouse|outfit|suit|bikini"
    worn = re.search(rf"\b({'|'.join(_COLOURS)})[\w -]{{0,12}} ({garment})", prompt.lower())
    colours = list(_COLOURS.values())
    background, time = rng.choice(_BACKGROUNDS), rng.choice(_TIMES)
    return Setting(
        background=background_in(prompt) or background,
        time=time_in(prompt) or time,
        outfit=_COLOURS[worn[1]] if worn else rng.choice(colours),
        accent=rng.choice(colours),
        backdrop=rng.choice(colours),
        lean=rng.uniform(-1, 1),
        smile=rng.uniform(0.3, 1),
        has_earrings=rng.random() < 0.4,  # noqa: PLR2004 - a share
    )


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Mix two colours; share 0 is the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
