"""Run a simulated ComfyUI server; every option can also be changed over POST /simulator/faults."""

import argparse
import asyncio
import logging
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from influencerai_dagster.simulators.comfyui.folders import Folders
from influencerai_dagster.simulators.comfyui.safetensors_header import write_placeholder
from influencerai_dagster.simulators.comfyui.server import serve


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="comfyui-simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188, help="0 takes a free one and prints it")
    parser.add_argument("--models-dir", type=Path, required=True, help="holds checkpoints/, loras/")
    parser.add_argument("--input-dir", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--temp-dir", type=Path, help="emptied at the start; OUTPUT_DIR_temp")
    parser.add_argument(
        "--placeholder",
        action="append",
        default=[],
        metavar="FOLDER/NAME[=ARCHITECTURE]",
        help="make a model file without weights if it is not there; repeatable",
    )
    parser.add_argument("--seconds-per-step", type=float, default=0.02)
    parser.add_argument("--fail-rate", type=float, default=0.0, help="share of prompts that fail")
    parser.add_argument("--fail-node", default="KSampler", help="class of the node that fails")
    parser.add_argument(
        "--crash-after", type=int, default=0, metavar="N", help="end hard in the Nth prompt"
    )
    parser.add_argument(
        "--journal", type=Path, help="append a JSON line for all that happens to a prompt"
    )
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    arguments = _arguments()
    output = arguments.output_dir.resolve()
    temp = arguments.temp_dir or output.with_name(f"{output.name}_temp")
    folders = Folders(
        arguments.models_dir.resolve(), arguments.input_dir.resolve(), output, temp.resolve()
    )
    shutil.rmtree(folders.temp, ignore_errors=True)
    for placeholder in arguments.placeholder:
        name, _, architecture = placeholder.partition("=")
        write_placeholder(folders.models / name, architecture or name)
    faults = {
        "seconds_per_step": arguments.seconds_per_step,
        "fail_rate": arguments.fail_rate,
        "fail_node": arguments.fail_node,
        "crash_after_prompts": arguments.crash_after,
    }
    try:
        with ExitStack() as files:
            journal = arguments.journal and files.enter_context(arguments.journal.open("a"))
            asyncio.run(serve(arguments.host, arguments.port, folders, faults, journal=journal))
    except OSError as error:
        address = f"{arguments.host}:{arguments.port}"
        sys.exit(f"cannot listen on {address}: {error.strerror}; choose another --port")


if __name__ == "__main__":
    main()
