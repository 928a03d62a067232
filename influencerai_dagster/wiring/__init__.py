"""Build every domain object from the settings, in this one place.

One module per capability. Dagster's resources, the command line and the local stack call the same
functions, so that a setting reaches all of them or none. Nothing is sent or opened here: what is
built connects when it is used.
"""
