"""Stand in for a checkout of kohya's sd-scripts: set KOHYA_DIR to this folder.

Its scripts take the real command lines, print what the real ones print (kohya/recorded), and write
valid files marked SIMULATED. They run as programs of the project's own Python; what they share is
in `simulation/`.
"""
