"""Read faults and the speed of the simulation from the environment of the program.

SIMULATOR_KOHYA_FAULT is one of `FAULTS`; SIMULATOR_KOHYA_SECONDS_PER_STEP defaults to 0.002. Only
simulators read the environment on their own: nobody passes settings to sd-scripts either.
"""

import os

FAULTS = (
    "oom",  # CUDA out of memory at the first step
    "nan",  # the loss becomes NaN at the second step, and so do the weights; exit 0
    "disk_full",  # the weights are cut where the disk was full; exit 1
    "sigkill",  # the host's out-of-memory killer comes after the first step
    "truncated",  # cut weights, exit 0
    "no_file",  # no weights, exit 0
    "hang",  # no progress after the first step, with a child process that waits too
    "offline",  # a model or tokenizer cannot be downloaded
)


def fault() -> str:
    """Return the fault to show, "" for none."""
    found = os.environ.get("SIMULATOR_KOHYA_FAULT", "")
    if found and found not in FAULTS:
        raise SystemExit(f"SIMULATOR_KOHYA_FAULT={found!r} is none of {', '.join(FAULTS)}")
    return found


def seconds_per_step() -> float:
    """Return how long a step takes."""
    return float(os.environ.get("SIMULATOR_KOHYA_SECONDS_PER_STEP", "0.002"))
