"""What a captioner says of an image that it does not describe."""

from influencerai_dagster.core.base import Value


class RefusedImage(Value):
    """An image that the captioner does not describe, and why."""

    file_name: str
    why: str
