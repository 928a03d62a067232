"""Simulate kohya's WD14 tagging; it leaves no model behind that a real run could find."""

import argparse
import sys

from influencerai_dagster.simulators.sd_scripts.simulation.captions import write_captions


def main() -> int:
    """Write tags beside every image."""
    parser = argparse.ArgumentParser()
    parser.add_argument("train_data_dir")
    parser.add_argument("--repo_id")
    parser.add_argument("--model_dir", default="wd14_tagger_model")
    parser.add_argument("--force_download", action="store_true")
    parser.add_argument("--caption_extension", default=".txt")
    parser.add_argument("--thresh", type=float, default=0.35)
    parser.add_argument("--remove_underscore", action="store_true")
    parser.add_argument("--onnx", action="store_true")
    parser.add_argument("--batch_size", type=int, default=1)
    args = parser.parse_args()
    separator = " " if args.remove_underscore else "_"

    def tags(colour: str, brightness: str) -> str:
        return f"simulated, solo, {colour}{separator}background, {brightness}"

    return write_captions(args, tags, where="tag_images_by_wd14_tagger.py:166")


if __name__ == "__main__":
    sys.exit(main())
