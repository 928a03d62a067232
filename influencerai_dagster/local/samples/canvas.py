"""Draw smooth shapes on an image, in lengths of the figure that figure.py and head.py draw."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

Points = list[complex]


def points(text: str, at: complex = 0, along: complex = 1, side: float = 1) -> Points:
    """Read "x y, x y".

    Args:
        text: the points.
        at: where their (0, 0) is.
        along: where their x axis points to.
        side: -1 mirrors them from right to left.
    """
    pairs = (pair.split() for pair in text.split(","))
    return [at + along * complex(side * float(x), float(y)) for x, y in pairs]


def both_sides(right: str) -> Points:
    """Complete an outline of which the right side is given, from top to bottom."""
    return [*points(right), *reversed(points(right, side=-1))]


def smooth(path: Points, *, closed: bool, steps: int = 14) -> Points:
    """Lay a Catmull-Rom spline through all points."""
    ends = [path[-1], *path, *path[:2]] if closed else [path[0], *path, path[-1]]
    curve = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        for t in (step / steps for step in range(steps)):
            bend = (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
            curve.append(b + ((c - a) * t + bend) / 2)
    return curve if closed else [*curve, path[-1]]


@dataclass(frozen=True)
class Canvas:
    """Draws at `origin` in steps of `unit` pixels; an argument of `unit` turns the drawing.

    Attributes:
        rotation: radians by which the head that is drawn on looks to the right of the image.
        depth: how far the head's front is from its axis, in half head widths.
    """

    image: Image.Image
    origin: complex
    unit: complex
    rotation: float = 0
    depth: float = 0.9

    def at(self, p: complex) -> complex:
        """Return where a point of the figure is on the image."""
        if self.rotation:
            bulge = self.depth * math.sqrt(max(0, 1 - p.real**2))
            p = complex(p.real * math.cos(self.rotation) + bulge * math.sin(self.rotation), p.imag)
        return self.origin + self.unit * p

    def _fill(self, path: Points, fill: str) -> None:
        ImageDraw.Draw(self.image, "RGBA").polygon([_xy(self.at(p)) for p in path], fill)

    def blob(self, outline: str | Points, fill: str) -> None:
        """Fill a round shape; the colour may have an alpha."""
        self._fill(smooth(_path(outline), closed=True), fill)

    def oval(self, middle: complex, rx: float, ry: float, fill: str) -> None:
        """Fill an ellipse."""
        angles = [math.tau * step / 16 for step in range(16)]
        self.blob([middle + complex(rx * math.cos(a), ry * math.sin(a)) for a in angles], fill)

    def box(self, left: float, top: float, width: float, height: float, fill: str) -> None:
        """Fill a rectangle."""
        corner = complex(left, top)
        self._fill(
            [corner, corner + width, corner + complex(width, height), corner + height * 1j], fill
        )

    def limb(
        self, joints: str | Points, start: float, end: float, fill: str, share: float = 1
    ) -> None:
        """Draw the first `share` of a curve whose radius goes from `start` to `end`."""
        curve = smooth(_path(joints), closed=False, steps=48)
        draw = ImageDraw.Draw(self.image)
        for index in range(round(len(curve) * share)):
            middle = self.at(curve[index])
            radius = abs(self.unit) * (start + (end - start) * index / len(curve))
            draw.circle(_xy(middle), radius, fill)

    @contextmanager
    def inside(self, outline: str | Points) -> Iterator["Canvas"]:
        """Give a canvas of which only what it draws within the outline is kept."""
        path = [self.at(p) for p in smooth(_path(outline), closed=True)]
        left, right = _range([p.real for p in path], self.image.width)
        top, bottom = _range([p.imag for p in path], self.image.height)
        part = self.image.crop((left, top, right, bottom))
        corner = complex(left, top)
        yield replace(self, image=part, origin=self.origin - corner)
        mask = Image.new("L", part.size)
        ImageDraw.Draw(mask).polygon([_xy(p - corner) for p in path], 255)
        self.image.paste(part, (left, top), mask)


def _xy(p: complex) -> tuple[float, float]:
    return p.real, p.imag


def _range(values: list[float], end: int) -> tuple[int, int]:
    return max(0, math.floor(min(values))), min(end, math.ceil(max(values)) + 1)


def _path(path: str | Points) -> Points:
    return points(path) if isinstance(path, str) else path
