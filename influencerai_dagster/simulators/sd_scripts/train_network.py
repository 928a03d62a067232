"""Simulate kohya's trainer for SD1.5."""

import sys

from influencerai_dagster.simulators.sd_scripts.simulation.trainer import main

if __name__ == "__main__":
    sys.exit(main("train_network"))
