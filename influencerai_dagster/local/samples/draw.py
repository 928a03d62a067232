"""Draw the sample photos of Bella: `python -m influencerai_dagster.local.samples.draw [folder]`.

What each image shows is in scenes.toml, how she is drawn in figure.py and head.py; here are the
backgrounds and the files. All is drawn at three times the size and reduced: edges are smooth.
"""

import cmath
import json
import math
import random
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageFilter, ImageOps

from influencerai_dagster.local.samples.canvas import Canvas
from influencerai_dagster.local.samples.figure import draw_bella

HERE = Path(__file__).parent
WIDTH_PX, HEIGHT_PX, FINE = 640, 800, 3
RIGHTS = {
    "subject": "synthetic",
    "evidence": "drawn by influencerai_dagster/local/samples/draw.py",
    "licence": "CC0-1.0",
}


def main(folder: Path) -> None:
    """Write every image, its caption, the duplicate, the broken file and rights.json."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = tomllib.loads((HERE / "scenes.toml").read_text("utf-8"))
    for name, scene in scenes.items():
        drawn = draw_scene(scene, seed=int(name[-2:]))
        if scene.get("format") == "png":
            flat = drawn.quantize(224, dither=Image.Dither.NONE)
            flat.save(folder / f"{name}.png", optimize=True)
        else:
            drawn.save(folder / f"{name}.jpg", quality=86, optimize=True)
        if "caption" in scene:
            (folder / f"{name}.txt").write_text(scene["caption"] + "\n", "utf-8")
    (folder / "rights.json").write_text(json.dumps(RIGHTS, indent=2) + "\n", "utf-8")
    (folder / "bella-13-copy.jpg").write_bytes((folder / "bella-03.jpg").read_bytes())
    whole = (folder / "bella-01.jpg").read_bytes()
    (folder / "bella-14-broken.jpg").write_bytes(whole[: len(whole) // 2])


def draw_scene(scene: dict[str, Any], seed: int) -> Image.Image:
    """Draw one image: the background, out of focus, then Bella."""
    image = Image.new("RGB", (WIDTH_PX * FINE, HEIGHT_PX * FINE))
    background = scene["background"]
    gradient = Image.linear_gradient("L").resize((1, image.height))
    image.paste(ImageOps.colorize(gradient, *background["sky"]).resize(image.size))
    rng = random.Random(seed)  # noqa: S311 - looks, no secret
    BACKGROUNDS[background["kind"]](Canvas(image, 0, image.width), rng, background["colours"])
    blurred = image.reduce(FINE).filter(ImageFilter.GaussianBlur(background.get("blur", 0)))
    image.paste(blurred.resize(image.size, Image.Resampling.BILINEAR))
    x, y, half_head = scene["at"]
    unit = cmath.rect(half_head * image.width, math.radians(scene.get("lean", 0)))
    draw_bella(Canvas(image, complex(x, y) * image.width, unit), scene)
    drawn = image.reduce(FINE)
    return ImageChops.multiply(drawn, Image.new("RGB", drawn.size, scene.get("light", "white")))


def _studio(canvas: Canvas, _: random.Random, colours: list[str]) -> None:
    canvas.oval(0.5 + 0.52j, 0.42, 0.42, colours[0])


def _street(canvas: Canvas, rng: random.Random, colours: list[str]) -> None:
    left = -0.08
    for index in range(6):
        wide, top = rng.uniform(0.2, 0.28), rng.uniform(0.05, 0.3)
        canvas.box(left, top, wide, 1, colours[index % 4])
        for row in range(4):
            for column in (0.18, 0.6):
                window = (left + wide * column, top + 0.06 + row * 0.17)
                canvas.box(*window, wide * 0.22, 0.1, colours[4])
        canvas.box(left + 0.01, 0.83, wide - 0.02, 0.06, colours[(index + 1) % 4])
        canvas.box(left + wide * 0.35, 0.89, wide * 0.3, 0.2, colours[5])
        left += wide
    canvas.box(0, 1.03, 1, 0.3, colours[6])
    canvas.box(0, 1.03, 1, 0.015, "#00000020")


def _beach(canvas: Canvas, rng: random.Random, colours: list[str]) -> None:
    canvas.oval(0.78 + 0.24j, 0.09, 0.09, colours[0])
    for _ in range(3):
        cloud = complex(rng.uniform(0, 0.6), rng.uniform(0.1, 0.4))
        for step in range(3):
            canvas.oval(cloud + step * 0.07, 0.09, 0.035 + 0.02 * (step == 1), "#ffffff90")
    canvas.box(0, 0.66, 1, 0.6, colours[1])
    for row in range(7):
        canvas.box(rng.random() - 0.2, 0.68 + row * 0.03, 0.4, 0.006, "#ffffff70")
    canvas.blob("-.3 .93, .2 .9, .6 .94, 1.3 .88, 1.4 1.5, -.4 1.5", "#ffffffb0")
    canvas.blob("-.3 .96, .2 .92, .6 .965, 1.3 .91, 1.4 1.5, -.4 1.5", colours[2])


def _cafe(canvas: Canvas, rng: random.Random, colours: list[str]) -> None:
    canvas.box(0.06, 0.1, 0.42, 0.6, colours[0])
    canvas.box(0.26, 0.1, 0.02, 0.6, colours[1])
    canvas.box(0.06, 0.38, 0.42, 0.02, colours[1])
    for shelf in (0.32, 0.56):
        canvas.box(0.58, shelf, 0.4, 0.02, colours[1])
        for index in range(5):
            tall = rng.uniform(0.05, 0.12)
            canvas.box(0.6 + index * 0.075, shelf - tall, 0.05, tall, rng.choice(colours[2:]))
    for x in (0.15, 0.5, 0.86):
        canvas.limb(f"{x} 0, {x} .1", 0.003, 0.003, "#40302a")
        canvas.oval(complex(x, 0.13), 0.1, 0.1, "#ffe9a840")
        canvas.oval(complex(x, 0.12), 0.035, 0.04, "#fff0bf")
    canvas.box(0, 0.86, 1, 0.5, colours[1])


def _night(canvas: Canvas, rng: random.Random, colours: list[str]) -> None:
    for index in range(6):
        left, top = index * 0.18 - 0.04, rng.uniform(0.1, 0.45)
        canvas.box(left, top, 0.17, 1.2, colours[index % 2])
        for window in range(18):
            x, y = left + 0.02 + window % 3 * 0.05, top + 0.04 + window // 3 * 0.1
            canvas.box(x, y, 0.03, 0.05, rng.choice(["#ffd98a", "#00000030", "#00000030"]))
    for _ in range(34):
        light = complex(rng.random(), rng.uniform(0.15, 1.2))
        radius = rng.uniform(0.02, 0.065)
        canvas.oval(light, radius, radius, rng.choice(colours[2:]) + "70")


def _park(canvas: Canvas, rng: random.Random, colours: list[str]) -> None:
    for layer in range(3):
        for index in range(6):
            x, y = (index + rng.random()) / 6, 0.36 + layer * 0.16
            canvas.limb(f"{x} {y}, {x} {y + 0.5}", 0.012, 0.016, "#6d5145")
            for _ in range(4):
                leaf = complex(x + rng.uniform(-0.07, 0.07), y + rng.uniform(-0.08, 0.06))
                canvas.oval(leaf, 0.08, 0.07, colours[(layer + index) % 3])
    canvas.box(0, 0.95, 1, 0.4, colours[3])
    canvas.blob(".3 .93, .6 .93, 1 1.4, -.2 1.4", colours[4])


BACKGROUNDS: dict[str, Callable[[Canvas, random.Random, list[str]], None]] = {
    "studio": _studio,
    "street": _street,
    "beach": _beach,
    "cafe": _cafe,
    "night": _night,
    "park": _park,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "bella")
