"""Share code between the simulated programs of sd-scripts.

A package of its own, because the folder above is on the path of every program that runs in it.
"""
