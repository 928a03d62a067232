"""Generate images and videos: the job queue, the worker that claims from it, the renders.

queue/ has the rows and their rules, render/ makes one file, worker/ claims jobs and renders them.
"""
