"""kohya sd-scripts.

A training or captioning command as a supervised process, and the proof that it worked.
"""
