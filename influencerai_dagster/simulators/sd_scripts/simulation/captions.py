"""Caption by the mean colour of an image, for both simulated captioning tools."""

import argparse
import colorsys
from collections.abc import Callable
from pathlib import Path

from influencerai_dagster.simulators.sd_scripts.simulation.console import Console
from influencerai_dagster.simulators.sd_scripts.simulation.faults import fault

_IMAGE_EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
_GREY_BELOW = 0.15
_DARK_BELOW = 0.35


def write_captions(
    args: argparse.Namespace, caption: Callable[[str, str], str], *, where: str
) -> int:
    """Write a caption beside every image; one that does not open is only logged."""
    from PIL import Image  # noqa: PLC0415 - a bad option ends sooner

    console = Console()
    if fault() == "offline":
        raise ValueError("Cannot pass 'force_download=True' when offline mode is enabled.")
    folder = Path(args.train_data_dir)
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_EXTENSIONS)
    console.log("INFO", f"found {len(images)} images.", where)
    for path in images:
        try:
            with Image.open(path) as image:
                pixel = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
        except OSError as error:
            text = f"Could not load image path / 画像を読み込めません: {path}, error: {error}"
            console.log("ERROR", text, where)
            continue
        text = caption(*_words(pixel)) + "\n"
        path.with_suffix(args.caption_extension).write_text(text, encoding="utf-8")
    console.log("INFO", "done!", where)
    return 0


def _words(pixel: object) -> tuple[str, str]:
    """Return the name of a colour and of its brightness."""
    if not isinstance(pixel, tuple):
        raise TypeError("an RGB image has three values a pixel")
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in pixel))
    colour = "grey" if saturation < _GREY_BELOW else _HUES[round(hue * len(_HUES)) % len(_HUES)]
    return colour, "dark" if value < _DARK_BELOW else "bright"
