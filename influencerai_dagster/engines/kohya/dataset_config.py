"""Write the two text files that a training reads: the dataset TOML and the sample prompts.

The command line is in command.py. What kohya's strict validator takes is recorded in
recorded/kohya/toml_schema_probe.txt (docs/protocols/kohya.md, point 12). A prompt line has the
options `--w --h --s --d` of its library.
"""

from pathlib import Path

import tomli_w

from influencerai_dagster.core.lora_training import BUCKET_STEP_PX, LoraConfig

CAPTION_EXTENSION = ".txt"
SAMPLE_STEPS = 20
_MAX_SAMPLE_SEED = 2**32 - 1


def write_dataset_config(path: Path, *, image_dir: Path, config: LoraConfig) -> None:
    """Write the dataset TOML for one folder of images with their captions beside them.

    The tables are put together here because tomli_w would write short ones inline, inside arrays
    of several lines, which the `toml` library that sd-scripts reads with is not made for.
    """
    general = {"caption_extension": CAPTION_EXTENSION, "shuffle_caption": False, "flip_aug": False}
    dataset = {
        "resolution": config.resolution,
        "batch_size": config.train_batch_size,
        "enable_bucket": True,
        "bucket_no_upscale": True,
        "bucket_reso_steps": BUCKET_STEP_PX,
        "min_bucket_reso": max(BUCKET_STEP_PX, _whole_steps(config.resolution // 2)),
        "max_bucket_reso": _whole_steps(config.resolution * 2 + BUCKET_STEP_PX - 1),
    }
    subset = {"image_dir": str(image_dir.resolve()), "num_repeats": config.num_repeats}
    sections = (("[general]", general), ("[[datasets]]", dataset), ("[[datasets.subsets]]", subset))
    text = "\n".join(f"{heading}\n{tomli_w.dumps(values)}" for heading, values in sections)
    path.write_text(text, encoding="utf-8")


def write_sample_prompts(path: Path, *, prompts: tuple[str, ...], config: LoraConfig) -> None:
    """Write one prompt a line, each with the size, the steps and a fixed seed of its own.

    A prompt cannot become a comment, a second line or an option of the sampler.
    """
    lines = [
        f"{_plain_prompt(prompt)} --w {config.resolution} --h {config.resolution}"
        f" --s {SAMPLE_STEPS} --d {(config.seed + index) % _MAX_SAMPLE_SEED}\n"
        for index, prompt in enumerate(prompts)
    ]
    path.write_text("".join(lines), encoding="utf-8")


def _whole_steps(size_px: int) -> int:
    return size_px // BUCKET_STEP_PX * BUCKET_STEP_PX


def _plain_prompt(prompt: str) -> str:
    words = " ".join(prompt.split()).lstrip("# ")
    while "--" in words:
        words = words.replace("--", "-")
    return words
