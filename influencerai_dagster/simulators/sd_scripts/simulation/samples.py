"""Draw the sample images of a training: the prompt on a plain ground, marked SIMULATED."""

import argparse
import colorsys
import re
import textwrap
import time
from pathlib import Path

from influencerai_dagster.simulators.sd_scripts.simulation.console import Console

_OPTION = re.compile(r"^([whsd]) (\d+)", re.IGNORECASE)
_DEFAULT_SIDE_PX = 512


def draw_samples(args: argparse.Namespace, console: Console, step: int) -> None:
    """Draw one image for each line of the prompt file; a missing file is only logged."""
    text = f"generating sample images at step / サンプル画像生成 ステップ: {step}"
    console.log("INFO", text, "train_util.py:6394")
    if not Path(args.sample_prompts).is_file():
        text = f"No prompt file / プロンプトファイルがありません: {args.sample_prompts}"
        console.log("ERROR", text, "train_util.py:6396")
        return
    folder = Path(args.output_dir) / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    lines = Path(args.sample_prompts).read_text(encoding="utf-8").splitlines()
    prompts = [line for line in lines if line.strip() and not line.startswith("#")]
    for number, line in enumerate(prompts):
        prompt, *options = line.split(" --")
        found = {
            match[1].lower(): int(match[2]) for one in options if (match := _OPTION.match(one))
        }
        console.log("INFO", f"prompt: {prompt}", "train_util.py:6542")
        seed = f"_{found['d']}" if "d" in found else ""
        stamp = time.strftime("%Y%m%d%H%M%S")
        name = f"{args.output_name}_{step:06d}_{number:02d}_{stamp}{seed}.png"
        _draw(folder / name, prompt, found, step)


def _draw(path: Path, prompt: str, found: dict[str, int], step: int) -> None:
    from PIL import Image, ImageDraw  # noqa: PLC0415 - only trainings with samples draw

    size = (found.get("w", _DEFAULT_SIDE_PX), found.get("h", _DEFAULT_SIDE_PX))
    hue = (found.get("d", 0) * 0.13 + step * 0.001) % 1
    ground = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.4, 0.9))
    image = Image.new("RGB", size, ground)
    text = "\n".join(["SIMULATED", f"step {step}", *textwrap.wrap(prompt, 40)])
    ImageDraw.Draw(image).multiline_text((8, 8), text, fill="black")
    image.save(path, compress_level=1)
