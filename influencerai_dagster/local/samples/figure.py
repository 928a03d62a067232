"""Draw Bella's figure and clothes; head.py draws her head.

Lengths are half head widths: the middle of the head is (0, 0), y points down, a standing figure's
soles are at y = 11.6. Right and left are those of the image.
"""

import cmath
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from influencerai_dagster.local.samples.canvas import Canvas, Points, both_sides, points
from influencerai_dagster.local.samples.head import SKIN, SKIN_SHADE, draw_back_hair, draw_head

NECK = 1.3j
CHEST = 2
LONG_SLEEVE = 0.5
TORSO = ".3 .8, .3 1.6, .46 1.9, .95 2.08, 1.14 2.45, .94 3.2, .6 4"
SHOULDER, SIDES = ".98 2.06, 1.2 2.5", "1.04 3.2, .86 4.1, 1.02 4.9, 1.12 5.4, .5 5.5"
NECKLINES = {
    "round": f".2 2.36, .42 2.2, .6 1.9, {SHOULDER}",
    "v": f".06 2.95, .3 2.4, .52 1.88, {SHOULDER}",
    "straps": ".2 2.95, .5 2.85, .62 2.4, .66 1.94, .78 1.95, .84 2.4, .98 2.9",
    "turtle": f".3 1.42, .37 1.46, .4 1.75, .6 1.92, {SHOULDER}",
}
FLAP = ".36 1.75, .62 1.88, 1.04 2.02, 1.26 2.5, 1.12 3.2, 1 4.1, 1.14 5.2, 1.1 5.6, .6 5.6, .46 4"
LAPEL = ".4 1.8, .62 2.7, .46 4, .58 5.5"
STANDING = ("-.5 5.8, -.55 8.6, -.5 11.2", ".5 5.8, .55 8.6, .5 11.2")
HAND = "-.1 -.15, .25 -.22, .62 -.15, .74 0, .62 .16, .25 .2, -.1 .15"


def draw_bella(canvas: Canvas, scene: dict[str, Any]) -> None:
    """Draw the figure with what is behind and before it.

    An arm whose hand is above the chest is drawn over the face.
    """
    tilt = cmath.rect(1, math.radians(scene.get("tilt", 0)))
    head = replace(canvas, origin=canvas.at(NECK - NECK * tilt), unit=canvas.unit * tilt)
    arms = [points(arm) for arm in scene["arms"]]
    _things(canvas, scene.get("behind", ()))
    draw_back_hair(head, scene)
    if "bottom" in scene:
        _legs(canvas, scene, scene["bottom"])
    _torso(canvas, scene)
    for arm in arms:
        if arm[-1].imag > CHEST:
            _arm(canvas, arm, scene)
    draw_head(head, scene)
    for arm in arms:
        if arm[-1].imag <= CHEST:
            _arm(canvas, arm, scene)
    _things(canvas, scene.get("front", ()))


def _things(canvas: Canvas, things: Iterable[dict[str, Any]]) -> None:
    for thing in things:
        if "line" in thing:
            canvas.limb(thing["line"], thing["radius"], thing["radius"], thing["fill"])
        else:
            canvas.blob(thing["blob"], thing["fill"])


def _legs(canvas: Canvas, scene: dict[str, Any], bottom: dict[str, Any]) -> None:
    for leg in map(points, scene.get("legs", STANDING)):
        canvas.limb(leg, 0.52, 0.2, SKIN)
        if bottom["kind"] == "trousers":
            canvas.limb(leg, 0.6, bottom.get("hem", 0.32), bottom["colour"], 0.93)
        outward = math.copysign(1, leg[-1].real)
        shoe = points("-.22 -.1, .2 -.12, .62 .3, .5 .42, -.24 .42", leg[-1], side=outward)
        canvas.blob(shoe, scene.get("shoes", "#ffffff"))
    if bottom["kind"] == "trousers":
        hips = both_sides(".4 4.2, .84 4.3, 1.05 5, 1.14 5.8, .95 6.5, .3 6.5")
        canvas.blob(hips, bottom["colour"])


def _torso(canvas: Canvas, scene: dict[str, Any]) -> None:
    top, bottom = scene["top"], scene.get("bottom", {})
    body = both_sides(TORSO)
    canvas.blob(body, SKIN)
    with canvas.inside(body) as inner:
        inner.oval(0.1 + 1j, 0.62, 0.72, SKIN_SHADE)  # the head's shadow
    if bottom.get("kind") == "skirt":
        _skirt(canvas, bottom)
    _cloth(canvas, both_sides(f"{NECKLINES[top['neck']]}, {SIDES}"), top)
    if "belt" in bottom:
        canvas.limb("-.8 4.25, 0 4.34, .8 4.25", 0.12, 0.12, bottom["belt"])
    if "jacket" in scene:
        for side in (-1, 1):
            canvas.blob(points(FLAP, side=side), scene["jacket"]["colour"])
            canvas.limb(points(LAPEL, side=side), 0.05, 0.03, scene["jacket"]["edge"])


def _skirt(canvas: Canvas, skirt: dict[str, Any]) -> None:
    hem, wide = skirt["hem"], skirt["wide"]
    seam = f"{wide} {hem - 0.2}, {wide * 0.8} {hem}, {wide * 0.3} {hem + 0.08}"
    _cloth(canvas, both_sides(f".3 3.95, .84 4.05, 1.08 5.1, {seam}"), skirt)


def _cloth(canvas: Canvas, outline: Points, cloth: dict[str, Any]) -> None:
    """Fill a garment with its colour and its pattern."""
    pattern, ink = cloth.get("pattern"), cloth.get("ink", "")
    with canvas.inside(outline) as inner:
        inner.box(-4, 0, 8, 12, cloth["colour"])
        for row in range(36):
            y = 1.5 + row * 0.34
            if pattern == "stripes":
                inner.limb(f"-3 {y}, 0 {y + 0.08}, 3 {y}", 0.08, 0.08, ink)
            elif pattern == "dots":
                for column in range(-7, 8):
                    inner.oval(complex(column * 0.4 + row % 2 * 0.2, y), 0.075, 0.075, ink)
        if pattern == "folds":
            for x in (-0.6, 0.1, 0.75):
                inner.limb(f"{x * 0.6} 4.6, {x * 1.2} {cloth['hem'] + 0.2}", 0.01, 0.09, ink)


def _arm(canvas: Canvas, arm: Points, scene: dict[str, Any]) -> None:
    elbow, wrist = arm[-2:]
    along = (wrist - elbow) / abs(wrist - elbow)
    thumb = ".1 .1, .42 .34" if arm[0].real > 0 else ".1 -.1, .42 -.34"
    canvas.limb(arm, 0.25, 0.15, SKIN)
    canvas.blob(points(HAND, wrist, along), SKIN)
    canvas.limb(points(thumb, wrist, along), 0.09, 0.06, SKIN)
    cloth = scene.get("jacket", scene["top"])
    sleeve = 1 if "jacket" in scene else cloth.get("sleeve", 0.35)
    cuff = 0.24 if sleeve > LONG_SLEEVE else 0.3
    if sleeve:
        canvas.limb(arm, 0.3, cuff + 0.035, cloth.get("edge", cloth["colour"]), sleeve)
        canvas.limb(arm, 0.32, cuff, cloth["colour"], sleeve)
