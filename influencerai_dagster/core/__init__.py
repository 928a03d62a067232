"""Define the values that several folders share: keys, object paths, manifests, sampling settings.

Pure: nothing here reads a file, a clock or the network.
"""
