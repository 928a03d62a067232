"""Simulate kohya's BLIP captioning."""

import argparse
import sys

from influencerai_dagster.simulators.sd_scripts.simulation.captions import write_captions


def main() -> int:
    """Write one sentence beside every image."""
    parser = argparse.ArgumentParser()
    parser.add_argument("train_data_dir")
    parser.add_argument("--caption_extension", default=".caption")
    parser.add_argument("--batch_size", type=int, default=1)
    return write_captions(parser.parse_args(), _sentence, where="make_captions.py:112")


def _sentence(colour: str, brightness: str) -> str:
    return f"a simulated caption of a person on a {brightness} {colour} background"


if __name__ == "__main__":
    sys.exit(main())
