"""kohya sd-scripts: runs trainings and captioners as supervised processes, and verifies results."""
