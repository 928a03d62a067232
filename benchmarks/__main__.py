"""Run benchmarks and print their ratios: `python -m benchmarks [NAME …]`."""

import argparse
import sys
from importlib import import_module

from benchmarks.comparisons import Comparison
from benchmarks.report import print_report

BACKUPS = (
    *("database_backup", "database_restore", "object_backup", "object_restore", "restore_drill"),
)
NAMES = (
    *("dataset_scan", "dataset_scan_memory", "image_memory", "definitions_import", "sensor_tick"),
    *("command_line", "idle"),
    *("generation_short", "generation_long", "generation_fairness", "generation_memory"),
    *("generation_latency", "generation_cold", "run_start", "dataset_builds"),
    *BACKUPS,
)


def main() -> None:
    """Run the named benchmarks, or all; an exception is a malfunction and ends with code 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--share", type=float, default=1.0, help=f"of the full data, for {', '.join(BACKUPS)}"
    )
    options = parser.parse_args()
    names = options.names or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(NAMES)}")
    comparisons: list[Comparison] = []
    for name in names:
        print(f"running {name}", file=sys.stderr)
        # Imported when it is measured: Dagster is not part of what the scan's process holds.
        sizes = {"share": options.share} if name in BACKUPS else {}
        comparisons += import_module(f"benchmarks.{name}").run(**sizes)
    print_report(comparisons)


if __name__ == "__main__":
    main()
