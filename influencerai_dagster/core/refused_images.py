"""Define the refusal of a captioner to describe an image."""

from influencerai_dagster.core.base import Value


class RefusedImage(Value):
    """A refused image and the reason."""

    file_name: str
    why: str
