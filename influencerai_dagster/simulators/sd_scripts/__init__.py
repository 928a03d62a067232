"""A folder that stands in for a checkout of kohya's sd-scripts: set KOHYA_DIR to it.

Its scripts take the real command lines, print what the real ones print (kohya/recorded), and write
valid files marked SIMULATED. They run as programs of the project's own Python; what they share is
in `simulation/`.
"""
