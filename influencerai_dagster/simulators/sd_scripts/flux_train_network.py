"""Simulate kohya's trainer for FLUX.1."""

import sys

from influencerai_dagster.simulators.sd_scripts.simulation.trainer import main

if __name__ == "__main__":
    sys.exit(main("flux_train_network"))
