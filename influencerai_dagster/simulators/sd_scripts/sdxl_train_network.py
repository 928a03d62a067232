"""Simulate kohya's trainer for SDXL."""

import sys

from influencerai_dagster.simulators.sd_scripts.simulation.trainer import main

if __name__ == "__main__":
    sys.exit(main("sdxl_train_network"))
