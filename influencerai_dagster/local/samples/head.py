"""Draw Bella's head: auburn hair, green eyes, freckles, a mole under the left eye, gold hoops.

Lengths and sides are those of figure.py. Of a symmetric shape the right side is given.
"""

import cmath
import math
from dataclasses import replace
from typing import Any

from influencerai_dagster.local.samples.canvas import Canvas, both_sides, points

SKIN, SKIN_SHADE, BLUSH, LIP, LIP_DARK = "#f5c9a8", "#e2a583", "#ea7f6a50", "#cf5a55", "#8c2f35"
HAIR, HAIR_SHADE, HAIR_SHINE = "#8f4226", "#6b2d1a", "#bd6a3f"
INK, GOLD, IRIS, IRIS_RIM = "#3b2119", "#ebb840", "#4f9a63", "#2f5f3e"
EAR_HIDDEN = 0.35
FACE = "0 -1.15, .6 -1, .94 -.4, .95 .15, .84 .6, .52 1.02, .17 1.24"
BACK_HAIR = {
    "long": ".6 -1.3, 1.16 -.7, 1.24 .4, 1.42 1.4, 1.3 2.2, 1.5 3, 1.2 3.6, .8 3.3, .4 3.6",
    "bob": ".6 -1.3, 1.18 -.7, 1.26 .2, 1.36 .9, 1.14 1.3, .6 1.2",
    "tied": ".6 -1.28, 1.1 -.7, 1.08 .1, .85 .6, .3 .7",
}
KNOTS = {"bun": [-1.62j], "buns": [-0.95 - 1.2j, 0.95 - 1.2j]}
TAIL = ".7 -.8, 1.5 -.7, 1.75 .3, 1.5 1.4, 1.8 2.1"
LOCK, LOCK_SHINE = (
    ".98 -.3, 1.14 .5, 1.04 1.2, 1.26 1.9, 1.04 2.7, 1.16 3.3",
    "1.1 .3, 1.04 1.05, 1.2 1.75, 1.06 2.4",
)
FRINGE = (
    "-.35 -1.3, .3 -1.32, .9 -.95, 1.13 -.2, 1.08 .5, .95 .15, .82 -.3, .4 -.66, -.1 -.95",
    "-.2 -1.3, -.65 -1.2, -1.08 -.7, -1.12 .5, -.96 .2, -.86 -.3, -.6 -.7, -.3 -1",
)
FRINGE_SHINE = (
    "-.1 -1.08, .42 -.9, .78 -.5",
    ".1 -1.16, .62 -.92, .92 -.4",
    "-.5 -1.02, -.82 -.65, -.95 -.2",
)
TEMPLE = 0.9


def draw_back_hair(head: Canvas, scene: dict[str, Any]) -> None:
    """Draw the hair that is behind neck and shoulders."""
    style, back = scene["hair"], -math.sin(scene.get("rotation", 0))
    shape = both_sides(BACK_HAIR.get(style, BACK_HAIR["tied"]))
    head.blob([p + 0.3 * back for p in shape], HAIR_SHADE)
    for knot in KNOTS.get(style, ()):
        middle = knot + 0.4 * back
        head.oval(middle, 0.5, 0.46, HAIR)
        head.limb(points("-.3 .05, -.1 -.22, .22 -.2", middle), 0.04, 0.02, HAIR_SHINE)
    if style == "ponytail":
        side = math.copysign(1, back)
        tail = points(TAIL, side=side)
        head.limb(tail, 0.42, 0.05, HAIR)
        head.limb([p - 0.1 for p in tail[1:4]], 0.04, 0.02, HAIR_SHINE)
        head.oval(tail[0] + 0.1 * side, 0.14, 0.2, scene["accent"])


def draw_head(head: Canvas, scene: dict[str, Any]) -> None:
    """Draw ears, face, the hair in front of them, and what is worn."""
    rotation = scene.get("rotation", 0)
    aside = math.sin(rotation)
    for side in (-1, 1):
        if side * aside < EAR_HIDDEN:
            head.oval(complex(side * 0.98 - 0.2 * aside, 0.22), 0.17, 0.25, SKIN_SHADE)
            middle = complex(side * 1.02 - 0.2 * aside, 0.6)
            head.limb([middle + cmath.rect(0.16, a / 2) for a in range(14)], 0.035, 0.035, GOLD)
    outline = [p + 0.26 * aside * max(0, p.imag) for p in both_sides(FACE)]
    head.blob(outline, SKIN)
    with head.inside(outline) as inner:
        _face(replace(inner, rotation=rotation), scene)
        for lock in FRINGE:
            inner.blob(points(lock, 0.22 * aside + 0.09j), SKIN_SHADE + "90")
    for lock in FRINGE:
        head.blob([p + 0.22 * aside * (abs(p.real) < TEMPLE) for p in points(lock)], HAIR)
    for strand in FRINGE_SHINE:
        head.limb(points(strand, 0.2 * aside), 0.035, 0.01, HAIR_SHINE)
    if scene["hair"] == "long":
        for side in (-1, 1):
            head.limb(points(LOCK, side=side), 0.17, 0.06, HAIR)
            head.limb(points(LOCK_SHINE, side=side), 0.03, 0.015, HAIR_SHINE)
    if scene["hair"] == "braid":
        _braid(head, scene["accent"])
    if "wear" in scene:
        {"glasses": _glasses, "hat": _hat, "beanie": _beanie}[scene["wear"]](head, scene)


def _face(face: Canvas, scene: dict[str, Any]) -> None:
    look, gaze = scene.get("eyes", "open"), complex(*scene.get("gaze", (0, 0)))
    for side in (-1, 1):
        face.oval(complex(side * 0.58, 0.5), 0.2, 0.14, BLUSH)
        for freckle in points(".4 .42, .52 .36, .62 .44, .47 .52", side=side):
            face.oval(freckle, 0.02, 0.02, "#b5694880")
        face.limb(points(".2 -.24, .44 -.34, .7 -.22", side=side), 0.036, 0.016, HAIR_SHADE)
        if look == "happy" or (look == "wink" and side < 0):
            face.limb(points(".2 .16, .42 .01, .64 .16", side=side), 0.03, 0.03, INK)
        else:
            _open_eye(face, side, gaze)
    face.oval(0.36 + 0.4j, 0.03, 0.03, INK)
    nose = replace(face, depth=face.depth + 0.12)
    nose.limb(".1 .42, .08 .52, -.04 .54", 0.02, 0.025, SKIN_SHADE)
    nose.oval(0.02 + 0.42j, 0.05, 0.04, "#ffffff70")
    if scene.get("mouth") == "open":
        face.blob("-.3 .7, 0 .74, .3 .7, .2 .88, 0 .95, -.2 .88", LIP_DARK)
        face.blob("-.24 .73, 0 .76, .24 .73, .18 .8, 0 .82, -.18 .8", "#ffffff")
        face.limb("-.31 .69, 0 .74, .31 .69", 0.03, 0.03, LIP)
        face.limb("-.2 .88, 0 .95, .2 .88", 0.035, 0.035, LIP)
    else:
        face.blob("-.2 .77, -.07 .73, 0 .75, .07 .73, .2 .77, .1 .86, 0 .88, -.1 .86", LIP)
        face.limb("-.26 .74, -.1 .785, .1 .785, .26 .74", 0.016, 0.016, LIP_DARK)
        face.oval(0.02 + 0.84j, 0.06, 0.014, "#ffffff60")


def _open_eye(face: Canvas, side: int, gaze: complex) -> None:
    middle = complex(side * 0.42, 0.1)
    lids = "-.24 .06, -.13 -.09, .06 -.13, .2 -.07, .27 -.01, .15 .13, -.06 .16"
    with face.inside(points(lids, middle, side=side)) as inner:
        iris = complex(side * 0.43, 0.09) + gaze
        inner.oval(middle, 0.5, 0.5, "#fffaf5")
        inner.oval(iris, 0.155, 0.165, IRIS_RIM)
        inner.oval(iris + 0.01j, 0.13, 0.14, IRIS)
        inner.oval(iris, 0.07, 0.075, "#1c1414")
        inner.oval(iris - 0.06 - 0.06j, 0.045, 0.045, "#ffffff")
    lashes = "-.25 .07, -.13 -.1, .06 -.145, .22 -.08, .34 -.12"
    face.limb(points(lashes, middle, side=side), 0.018, 0.036, INK)


def _braid(head: Canvas, ribbon: str) -> None:
    for index in range(9):
        middle = complex(1 + 0.14 * math.sin(index / 2), 0.75 + index * 0.3)
        head.oval(middle, 0.27 - index * 0.012, 0.22, HAIR_SHADE)
        head.oval(middle - 0.03 - 0.03j, 0.23 - index * 0.012, 0.17, HAIR)
    head.oval(1.05 + 3.4j, 0.16, 0.12, ribbon)
    head.limb("1.05 3.45, 1 3.8", 0.17, 0.06, HAIR)


def _glasses(head: Canvas, scene: dict[str, Any]) -> None:
    canvas = replace(head, rotation=scene.get("rotation", 0), depth=1)
    for middle in (-0.44 + 0.12j, 0.44 + 0.12j):
        canvas.limb([middle + cmath.rect(0.31, a / 2) for a in range(14)], 0.025, 0.025, INK)
    canvas.limb("-.12 .05, .12 .05", 0.025, 0.025, INK)


def _hat(head: Canvas, scene: dict[str, Any]) -> None:
    head.blob("-2 -.55, -1 -.95, 1 -.95, 2 -.55, 1.2 -.42, 0 -.62, -1.2 -.42", "#d9b36a")
    head.blob("-1.1 -.8, -1.02 -1.5, -.5 -1.85, .5 -1.85, 1.02 -1.5, 1.1 -.8, 0 -.95", "#eecb84")
    head.blob("-1.12 -.7, -1.08 -1.1, 0 -1.2, 1.08 -1.1, 1.12 -.7, 0 -.86", scene["accent"])


def _beanie(head: Canvas, scene: dict[str, Any]) -> None:
    wool = "-1.16 -.5, -1.12 -1.2, -.6 -1.75, .6 -1.75, 1.12 -1.2, 1.16 -.5, 0 -.75"
    head.blob(wool, scene["accent"])
    head.limb("-1.12 -.5, 0 -.74, 1.12 -.5", 0.2, 0.2, scene["accent"])
    head.limb("-1.1 -.68, 0 -.92, 1.1 -.68", 0.02, 0.02, scene["seam"])
    head.oval(-1.85j, 0.34, 0.32, "#fff4e6")
