"""Folders that tests read."""

from pathlib import Path

PROJECT_DIR = Path(__file__).parents[2]
RECORDED_DIR = Path(__file__).parents[1] / "recorded"
SIMULATED_KOHYA_DIR = PROJECT_DIR / "influencerai_dagster" / "simulators" / "sd_scripts"
