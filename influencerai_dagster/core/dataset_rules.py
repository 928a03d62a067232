"""Define the limits of uploads, and the reasons for which one is rejected.

media/images.py measures images.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from influencerai_dagster.core.base import Value


class RejectReason(StrEnum):
    """Why an upload is not part of the dataset, in the words of the manifest and the UI."""

    NAME_NOT_ALLOWED = "file name not allowed"
    NOT_AN_IMAGE = "not an image"
    UNREADABLE = "unreadable image"
    TOO_SMALL = "too small"
    TOO_LARGE = "file too large"
    TOO_MANY_PIXELS = "too many pixels"
    TOO_MANY_IMAGES = "beyond the limit of images"
    EXACT_DUPLICATE = "exact duplicate"
    NEAR_DUPLICATE = "near duplicate"
    CAPTION_UNPAIRED = "caption of no image"
    CAPTION_NOT_USED = "caption of a rejected upload"
    RIGHTS_INVALID = "rights.json not understood"


class DatasetRules(Value):
    """Limits of a dataset's uploads.

    Attributes:
        max_upload_size_bytes: MAX_UPLOAD_SIZE.
        max_images: MAX_DATASET_IMAGES; uploads beyond it, in name order, are rejected.
        min_side_px: the shorter side of an image must have at least so many pixels.
        max_pixels: MAX_IMAGE_PIXELS; an image with more is not decoded at all.
        near_duplicate_bits: two images whose perceptual hashes (64 bits) differ in at most so
            many bits count as one.
    """

    max_upload_size_bytes: Annotated[int, Field(gt=0)] = 100 * 1000**2
    max_images: Annotated[int, Field(gt=0)] = 5000
    min_side_px: Annotated[int, Field(gt=0)] = 256
    max_pixels: Annotated[int, Field(gt=0)] = 40_000_000
    near_duplicate_bits: Annotated[int, Field(ge=0, le=32)] = 2
