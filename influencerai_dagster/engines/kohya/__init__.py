"""Run the trainings and captioners of sd-scripts as supervised processes; verify results."""
