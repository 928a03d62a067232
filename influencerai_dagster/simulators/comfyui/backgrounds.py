"""Draw backgrounds: a sky of the time of day, and a few shapes in its light."""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from influencerai_dagster.simulators.comfyui.descriptions import Rgb, TimeOfDay
from influencerai_dagster.simulators.comfyui.traits import Setting, mix

_WHITE: Rgb = (255, 255, 255)
_LAMP: Rgb = (255, 226, 150)
_SKIES: dict[TimeOfDay, tuple[Rgb, Rgb]] = {
    "day": ((126, 190, 234), (236, 242, 236)),
    "sunset": ((236, 122, 96), (254, 214, 142)),
    "night": ((16, 18, 48), (64, 54, 104)),
}
_LIGHT: dict[TimeOfDay, tuple[Rgb, float]] = {
    "day": (_WHITE, 0.0),
    "sunset": ((150, 62, 72), 0.38),
    "night": ((16, 18, 50), 0.68),
}
"""What a colour is mixed with, and how much."""
_NEON: tuple[Rgb, ...] = ((255, 64, 150), (64, 220, 255), (255, 196, 64), (150, 96, 255))


@dataclass(frozen=True)
class _Scene:
    """What a background is drawn with; lengths are pixels of the canvas."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    setting: Setting
    rng: random.Random

    def lit(self, colour: Rgb) -> Rgb:
        """Return a colour as it looks at the setting's time of day."""
        return mix(colour, *_LIGHT[self.setting.time])

    @property
    def is_night(self) -> bool:
        return self.setting.time == "night"

    def oval(self, x: float, y: float, half_width: float, half_height: float, fill: Rgb) -> None:
        """Fill an ellipse; its middle and halves are shares of the canvas."""
        box = [x - half_width, y - half_height, x + half_width, y + half_height]
        self.draw.ellipse([v * side for v, side in zip(box, self._sides, strict=True)], fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Rgb) -> None:
        """Fill a rectangle; edges are shares of the canvas."""
        if left < right and top < bottom:
            box = (left, top, right, bottom)
            self.draw.rectangle(
                [v * side for v, side in zip(box, self._sides, strict=True)], fill=fill
            )

    @property
    def _sides(self) -> tuple[int, int, int, int]:
        return self.width, self.height, self.width, self.height


def draw_background(size: tuple[int, int], setting: Setting, seed: int) -> Image.Image:
    """Return a new RGB canvas with the background of a setting."""
    top, bottom = _SKIES[setting.time]
    if setting.background in {"studio", "indoors"}:
        top, bottom = mix(setting.backdrop, _WHITE, 0.62), mix(setting.backdrop, _WHITE, 0.2)
        top, bottom = mix(top, *_LIGHT[setting.time]), mix(bottom, *_LIGHT[setting.time])
    gradient = Image.linear_gradient("L").resize((1, size[1]), Image.Resampling.BILINEAR)
    canvas = ImageOps.colorize(gradient, top, bottom).resize(size)
    rng = random.Random(seed)  # noqa: S311 - looks, no secret
    scene = _Scene(ImageDraw.Draw(canvas), *size, setting, rng)
    if setting.background not in {"studio", "indoors"}:
        _sun_or_stars(scene)
    _DRAWERS[setting.background](scene)
    return canvas


def _sun_or_stars(scene: _Scene) -> None:
    x, y = scene.rng.choice((0.16, 0.84)), scene.rng.uniform(0.14, 0.24)
    if scene.is_night:
        for _ in range(50):
            radius = scene.rng.uniform(0.5, 1.6) / scene.width
            spot = scene.rng.random(), scene.rng.random() * 0.55
            scene.oval(*spot, radius, radius * scene.width / scene.height, (250, 246, 220))
    if scene.setting.time == "sunset":
        x, y = scene.rng.choice((0.2, 0.8)), 0.5
    radius = 0.1 * min(scene.width, scene.height)
    colour = {"day": (255, 248, 206), "sunset": (255, 240, 176), "night": (236, 236, 224)}
    scene.oval(x, y, radius / scene.width, radius / scene.height, colour[scene.setting.time])


def _studio(scene: _Scene) -> None:
    radius = min(scene.width, scene.height) * 0.46
    fill = scene.lit(mix(scene.setting.backdrop, _WHITE, 0.72))
    scene.oval(0.5, 0.42, radius / scene.width, radius / scene.height, fill)


def _indoors(scene: _Scene) -> None:
    """Draw shelves on the wall, a lamp and a table: a cafe, a library or a room."""
    wood = (150, 104, 70)
    for row in range(2):
        y = 0.2 + 0.24 * row
        for left, right in ((0.03, 0.3), (0.7, 0.97)):
            x = left
            while x < right - 0.03:
                wide = scene.rng.uniform(0.02, 0.045)
                top = y - scene.rng.uniform(0.07, 0.14)
                cover = mix(scene.rng.choice(_NEON), (120, 90, 70), 0.62)
                scene.box(x, top, min(x + wide, right), y, scene.lit(cover))
                x += wide + 0.006
            scene.box(left - 0.01, y, right + 0.01, y + 0.018, scene.lit(wood))
    for x in (0.16, 0.84):
        scene.box(x - 0.003, 0, x + 0.003, 0.05, scene.lit((70, 60, 60)))
        scene.oval(x, 0.06, 0.05, 0.028, _LAMP)
    scene.box(0, 0.83, 1, 0.86, scene.lit(mix(wood, _WHITE, 0.25)))
    scene.box(0, 0.86, 1, 1, scene.lit(wood))


def _beach(scene: _Scene) -> None:
    scene.box(0, 0.56, 1, 1, scene.lit((72, 162, 190)))
    for row in range(4):
        y = 0.6 + 0.035 * row
        scene.box(0, y, 1, y + 0.006, scene.lit((150, 214, 226)))
    scene.oval(0.5, 1.06, 0.8, 0.34, scene.lit((240, 216, 170)))
    x = scene.rng.uniform(0.06, 0.2)
    box = [x - 0.14, 0.56, x + 0.14, 0.78]
    sides = (scene.width, scene.height) * 2
    scene.draw.pieslice(
        [v * side for v, side in zip(box, sides, strict=True)],
        180,
        360,
        fill=scene.lit(scene.setting.backdrop),
    )


def _forest(scene: _Scene) -> None:
    for layer, green in enumerate(((150, 196, 160), (104, 164, 124), (70, 130, 98))):
        for index in range(7):
            x = (index + scene.rng.uniform(-0.3, 0.3)) / 6
            top = 0.22 + 0.14 * layer + scene.rng.uniform(0, 0.08)
            corners = ((x - 0.11, 1.0), (x + 0.11, 1.0), (x, top))
            scene.draw.polygon(
                [(a * scene.width, b * scene.height) for a, b in corners], fill=scene.lit(green)
            )
    scene.box(0, 0.86, 1, 1, scene.lit((92, 148, 92)))


def _mountain(scene: _Scene) -> None:
    for layer, rock in enumerate(((168, 176, 196), (128, 138, 160), (92, 112, 108))):
        for index in range(3):
            x = (index + scene.rng.uniform(-0.2, 0.2)) / 2
            top, base = 0.24 + 0.16 * layer + scene.rng.uniform(0, 0.08), 1.0
            half = 0.34 + 0.04 * layer
            for share, fill in ((1.0, rock), (0.24, (246, 248, 252))):
                bottom = top + (base - top) * share
                if layer < 2 or fill is rock:  # noqa: PLR2004 - no snow on the nearest hills
                    corners = ((x - half * share, bottom), (x + half * share, bottom), (x, top))
                    scene.draw.polygon(
                        [(a * scene.width, b * scene.height) for a, b in corners],
                        fill=scene.lit(fill),
                    )
    scene.box(0, 0.9, 1, 1, scene.lit((110, 134, 96)))


def _city(scene: _Scene) -> None:
    rng = scene.rng
    for layer, share in enumerate((0.45, 0.15)):
        left = 0.0
        while left < 1:
            wide = rng.uniform(0.1, 0.18)
            top = rng.uniform(0.2 + 0.18 * layer, 0.45 + 0.18 * layer)
            tone = mix(mix((104, 112, 138), scene.setting.backdrop, 0.25), _WHITE, share)
            scene.box(left, top, left + wide, 1, scene.lit(tone))
            for column in range(3):
                for row in range(6):
                    x, y = left + wide * (0.14 + 0.28 * column), top + wide * (0.2 + 0.36 * row)
                    if rng.random() < 0.6:  # noqa: PLR2004 - share of windows that show
                        glass = _LAMP if scene.is_night else scene.lit((226, 236, 244))
                        scene.box(x, y, x + wide * 0.16, y + wide * 0.16, glass)
            if scene.is_night and layer:
                sign = rng.choice(_NEON)
                scene.box(left + 0.02, top + 0.06, left + 0.035, top + 0.26, sign)
            left += wide
    scene.box(0, 0.93, 1, 1, scene.lit((120, 120, 128)))


_DRAWERS = {
    "studio": _studio,
    "indoors": _indoors,
    "beach": _beach,
    "forest": _forest,
    "mountain": _mountain,
    "city": _city,
}
