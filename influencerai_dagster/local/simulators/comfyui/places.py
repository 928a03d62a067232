"""Backgrounds: a soft gradient with a few shapes for each place."""

import random

from PIL import Image, ImageDraw, ImageOps

from influencerai_dagster.local.simulators.comfyui.traits import Place, Rgb, Setting, mix

_WHITE: Rgb = (255, 255, 255)
_SKIES: dict[Place, tuple[Rgb, Rgb]] = {
    "beach": ((120, 196, 236), (238, 246, 240)),
    "forest": ((190, 226, 220), (240, 244, 206)),
    "city": ((172, 196, 222), (240, 226, 212)),
    "night": ((28, 26, 66), (96, 66, 128)),
    "sunset": ((246, 150, 108), (254, 220, 150)),
    "studio": ((236, 232, 228), (204, 200, 206)),
}


def draw_place(size: tuple[int, int], setting: Setting, seed: int) -> Image.Image:
    """Return a new RGB canvas with the background of a setting."""
    top, bottom = _SKIES[setting.place]
    if setting.place == "studio":
        top, bottom = mix(setting.backdrop, _WHITE, 0.62), mix(setting.backdrop, _WHITE, 0.2)
    gradient = Image.linear_gradient("L").resize((1, size[1]), Image.Resampling.BILINEAR)
    canvas = ImageOps.colorize(gradient, top, bottom).resize(size)
    pen = ImageDraw.Draw(canvas)
    chance = random.Random(seed)  # noqa: S311 - looks, no secret
    _DRAWERS[setting.place](pen, size, setting, chance)
    return canvas


def _studio(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], setting: Setting, _: random.Random
) -> None:
    width, height = size
    radius = min(size) * 0.46
    middle = (width / 2, height * 0.42)
    box = [middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius]
    pen.ellipse(box, fill=mix(setting.backdrop, _WHITE, 0.72))


def _beach(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], setting: Setting, chance: random.Random
) -> None:
    width, height = size
    _sun(pen, size, chance, (255, 244, 190))
    pen.rectangle([0, height * 0.56, width, height], fill=(72, 162, 190))
    for row in range(4):
        y = height * (0.6 + 0.035 * row)
        pen.line([0, y, width, y], fill=(120, 194, 212), width=max(1, round(height * 0.005)))
    pen.ellipse([-width * 0.3, height * 0.72, width * 1.3, height * 1.4], fill=(240, 216, 170))
    x = width * chance.uniform(0.06, 0.2)
    pen.pieslice(
        [x - width * 0.14, height * 0.56, x + width * 0.14, height * 0.78],
        180,
        360,
        fill=setting.backdrop,
    )


def _forest(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], _: Setting, chance: random.Random
) -> None:
    width, height = size
    for layer, green in enumerate(((150, 196, 160), (104, 164, 124), (70, 130, 98))):
        for index in range(7):
            x = width * (index + chance.uniform(-0.3, 0.3)) / 6
            half, top = width * 0.11, height * (0.22 + 0.14 * layer + chance.uniform(0, 0.08))
            pen.polygon([(x - half, height), (x + half, height), (x, top)], fill=green)
    pen.rectangle([0, height * 0.86, width, height], fill=(92, 148, 92))


def _city(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], setting: Setting, chance: random.Random
) -> None:
    width, height = size
    for layer, share in enumerate((0.45, 0.15)):
        left = 0.0
        while left < width:
            wide = width * chance.uniform(0.1, 0.18)
            top = height * chance.uniform(0.2 + 0.18 * layer, 0.45 + 0.18 * layer)
            tone = mix(mix((104, 112, 138), setting.backdrop, 0.25), _WHITE, share)
            pen.rectangle([left, top, left + wide, height], fill=tone)
            window = wide * 0.16
            for column in range(3):
                for row in range(6):
                    x, y = left + wide * (0.14 + 0.28 * column), top + wide * (0.2 + 0.36 * row)
                    if chance.random() < 0.6:  # noqa: PLR2004 - share of lit windows
                        pen.rectangle([x, y, x + window, y + window], fill=(250, 232, 176))
            left += wide


def _night(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], setting: Setting, chance: random.Random
) -> None:
    width, height = size
    for _ in range(60):
        x, y, radius = chance.random() * width, chance.random() * height * 0.7, chance.uniform(1, 3)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(250, 246, 220))
    for _ in range(9):
        radius = min(size) * chance.uniform(0.03, 0.08)
        x, y = chance.random() * width, height * chance.uniform(0.55, 0.95)
        colour = mix((96, 66, 128), setting.accent, chance.uniform(0.3, 0.7))
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _sunset(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], _: Setting, chance: random.Random
) -> None:
    width, height = size
    _sun(pen, size, chance, (255, 236, 180))
    for layer, tone in enumerate(((206, 116, 112), (150, 84, 110), (96, 62, 96))):
        y = height * (0.6 + 0.11 * layer)
        for index in range(4):
            x = width * (index + chance.uniform(-0.2, 0.2)) / 3
            pen.ellipse([x - width * 0.34, y, x + width * 0.34, y + height], fill=tone)


def _sun(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], chance: random.Random, colour: Rgb
) -> None:
    radius = min(size) * 0.1
    x, y = size[0] * chance.choice((0.16, 0.84)), size[1] * chance.uniform(0.14, 0.3)
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


_DRAWERS = {
    "studio": _studio,
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "night": _night,
    "sunset": _sunset,
}
