"""Draw a portrait: a friendly character before a background, its prompt and a SIMULATED mark.

Who and where are values of traits.py, backgrounds in backgrounds.py, text in marks.py. All is drawn
on one canvas of at most a megapixel and scaled to the size asked for, so that an image costs a few
tens of milliseconds whatever its size.
"""

from dataclasses import dataclass

from PIL import Image, ImageDraw

from influencerai_dagster.simulators.comfyui.backgrounds import draw_background
from influencerai_dagster.simulators.comfyui.descriptions import Rgb
from influencerai_dagster.simulators.comfyui.marks import add_marks
from influencerai_dagster.simulators.comfyui.traits import (
    Influence,
    Person,
    Setting,
    influenced_person,
    mix,
    setting_of,
)

_CANVAS_SIDE_PX = 960
_BLACK: Rgb = (30, 24, 30)
_WHITE: Rgb = (250, 250, 250)


@dataclass(frozen=True)
class Portrait:
    """What decides every pixel; equal values give equal images.

    Attributes:
        seed: 0 to 2**64 − 1.
        base: a number of the checkpoint.
    """

    width_px: int
    height_px: int
    seed: int
    prompt: str
    base: int
    influences: tuple[Influence, ...] = ()


def draw_portrait(portrait: Portrait) -> Image.Image:
    """Draw one image, RGB in the size asked for."""
    person = influenced_person(portrait.seed ^ portrait.base, portrait.prompt, portrait.influences)
    setting = setting_of(portrait.seed, portrait.prompt)
    scale = _CANVAS_SIDE_PX / max(portrait.width_px, portrait.height_px)
    size = (max(1, round(portrait.width_px * scale)), max(1, round(portrait.height_px * scale)))
    canvas = draw_background(size, setting, portrait.seed)
    _Figure(canvas, person, setting).draw()
    image = canvas.resize((portrait.width_px, portrait.height_px), Image.Resampling.BILINEAR)
    add_marks(image, portrait.prompt)
    return image


class _Figure:
    """Head and shoulders; lengths are shares of the canvas' short side, 0 is the face's middle."""

    def __init__(self, canvas: Image.Image, person: Person, setting: Setting) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._person = person
        self._setting = setting
        width, height = canvas.size
        self._unit = min(width, height * 0.86)
        self._x = width / 2
        self._y = height * 0.5 - self._unit * 0.07
        self._bottom = (height - self._y) / self._unit
        self._tilt = setting.lean * 0.018

    def draw(self) -> None:
        self._hair_behind()
        self._body()
        self._face()
        self._eyes()
        self._mouth()
        self._hair_in_front()
        self._extras()

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> list[float]:
        middle_x, middle_y = self._x + x * self._unit, self._y + y * self._unit
        half_x, half_y = half_width * self._unit, half_height * self._unit
        return [middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y]

    def _oval(self, x: float, y: float, rx: float, ry: float, colour: Rgb) -> None:
        self._draw.ellipse(self._box(x, y, rx, ry), fill=colour)

    def _line(self, width: float) -> int:
        return max(1, round(width * self._unit))

    def _hair_behind(self) -> None:
        hair, style = self._person.hair, self._person.hair_style
        dark = mix(hair, _BLACK, 0.25)
        if style == "long":
            self._draw.rounded_rectangle(
                self._box(0, 0.14, 0.235, 0.36), self._line(0.2), fill=dark
            )
        elif style == "bob":
            self._draw.rounded_rectangle(
                self._box(0, 0.0, 0.24, 0.235), self._line(0.16), fill=dark
            )
        elif style == "bun":
            self._oval(0, -0.29, 0.1, 0.1, dark)
        elif style == "curly":
            for x, y in ((-0.19, -0.1), (0.19, -0.1), (-0.22, 0.04), (0.22, 0.04), (-0.2, 0.17),
                         (0.2, 0.17), (-0.1, -0.2), (0.1, -0.2), (0, -0.22)):  # fmt: skip
                self._oval(x, y, 0.11, 0.11, dark)

    def _body(self) -> None:
        skin, outfit = self._person.skin, self._setting.outfit
        shade = mix(skin, _BLACK, 0.14)
        below = self._bottom
        self._draw.rounded_rectangle(
            self._box(0, 0.36 + below / 2, 0.36, below / 2 + 0.02), self._line(0.17), fill=outfit
        )
        self._draw.rounded_rectangle(self._box(0, 0.27, 0.07, 0.13), self._line(0.05), fill=shade)
        self._oval(0, 0.385, 0.12, 0.075, skin)
        self._draw.arc(
            self._box(0, 0.385, 0.135, 0.09),
            0,
            180,
            fill=self._setting.accent,
            width=self._line(0.016),
        )

    def _face(self) -> None:
        skin, width = self._person.skin, 0.175 * self._person.face_width
        blush = mix(skin, (232, 96, 96), 0.22)
        self._oval(0, -0.055, 0.187 * self._person.face_width, 0.19, self._person.hair)
        for side in (-1, 1):
            self._oval(side * width, 0.02, 0.032, 0.05, mix(skin, _BLACK, 0.06))
        self._oval(0, 0.0, width, 0.225, skin)
        for side in (-1, 1):
            self._oval(self._tilt + side * width * 0.6, 0.075, 0.036, 0.026, blush)
        if self._person.has_freckles:
            spot = mix(skin, (120, 60, 30), 0.35)
            for x, y in (
                (-0.1, 0.05),
                (-0.075, 0.07),
                (-0.12, 0.075),
                (0.1, 0.05),
                (0.075, 0.07),
                (0.12, 0.075),
            ):
                self._oval(self._tilt + x * self._person.face_width, y, 0.005, 0.005, spot)

    def _eyes(self) -> None:
        distance = 0.075 * self._person.eye_distance
        for side in (-1, 1):
            x = self._tilt * 1.4 + side * distance
            self._oval(x, 0.0, 0.034, 0.027, _WHITE)
            self._oval(x + self._tilt * 0.4, 0.002, 0.021, 0.022, self._person.eyes)
            self._oval(x + self._tilt * 0.4, 0.002, 0.011, 0.012, _BLACK)
            self._oval(x + 0.008, -0.007, 0.006, 0.006, _WHITE)
            self._draw.arc(
                self._box(x, 0.004, 0.037, 0.034), 195, 345, fill=_BLACK, width=self._line(0.009)
            )
            self._draw.arc(
                self._box(x, -0.035, 0.042, 0.03), 205, 335,
                fill=mix(self._person.hair, _BLACK, 0.4), width=self._line(0.012),
            )  # fmt: skip

    def _mouth(self) -> None:
        skin, smile = self._person.skin, self._setting.smile
        nose = mix(skin, _BLACK, 0.2)
        self._draw.arc(
            self._box(self._tilt * 1.6, 0.05, 0.018, 0.022),
            30,
            150,
            fill=nose,
            width=self._line(0.008),
        )
        lips = mix(skin, (196, 48, 72), 0.6)
        box = self._box(self._tilt * 1.4, 0.105, 0.055, 0.02 + 0.026 * smile)
        if smile > 0.7:  # noqa: PLR2004 - from here on teeth show
            self._draw.chord(box, 0, 180, fill=_WHITE, outline=lips, width=self._line(0.009))
        else:
            self._draw.arc(box, 15, 165, fill=lips, width=self._line(0.014))

    def _hair_in_front(self) -> None:
        hair, style = self._person.hair, self._person.hair_style
        light = mix(hair, _WHITE, 0.18)
        width = 0.19 * self._person.face_width
        self._draw.chord(self._box(0, -0.085, width, 0.17), 180, 360, fill=hair)
        self._draw.chord(self._box(-0.05, -0.1, width * 0.8, 0.15), 150, 335, fill=hair)
        self._draw.chord(self._box(0.08, -0.1, width * 0.6, 0.13), 200, 385, fill=hair)
        if style in {"long", "bob"}:
            for side in (-1, 1):
                self._oval(side * width * 1.03, 0.03, 0.035, 0.17, hair)
        self._draw.arc(
            self._box(-0.02, -0.05, width * 0.75, 0.165),
            215,
            285,
            fill=light,
            width=self._line(0.014),
        )

    def _extras(self) -> None:
        if self._setting.has_earrings:
            for side in (-1, 1):
                self._oval(
                    side * 0.18 * self._person.face_width, 0.08, 0.014, 0.018, self._setting.accent
                )
        if self._person.has_glasses:
            distance = 0.075 * self._person.eye_distance
            for side in (-1, 1):
                box = self._box(self._tilt * 1.4 + side * distance, 0.004, 0.054, 0.045)
                self._draw.rounded_rectangle(
                    box, self._line(0.03), outline=_BLACK, width=self._line(0.009)
                )
            self._draw.line(
                [self._x + (self._tilt * 1.4 - 0.024) * self._unit, self._y,
                 self._x + (self._tilt * 1.4 + 0.024) * self._unit, self._y],
                fill=_BLACK, width=self._line(0.009),
            )  # fmt: skip
