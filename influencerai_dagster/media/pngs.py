"""Measure a rendered PNG, and find out whether it shows anything.

Uploads, which may be anything, are measured in images.py.
"""

import io

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.decoding import BROKEN_IMAGE, decoded


def png_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a PNG whose every chunk is whole, by its checksum.

    Raises:
        PermanentError: it is not a PNG, or damaged or cut off.
    """
    from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415 - plugins take 0.1 s to import

    try:
        image = PngImageFile(io.BytesIO(data))
        size: tuple[int, int] = image.size
        image.verify()
    except BROKEN_IMAGE as error:
        raise PermanentError(
            f"an image of {len(data)} bytes is not a complete PNG: {error}"
        ) from error
    return size


def is_one_colour(data: bytes) -> bool:
    """Whether every pixel of a PNG has the same colour, whatever its transparency.

    Raises:
        PermanentError: it does not decode.
        TransientError: the machine has too little memory for it now.
    """
    try:
        with decoded(data, "RGB") as found:
            # None means more than one colour.
            return found.image.convert("RGB").getcolors(1) is not None
    except BROKEN_IMAGE as error:
        raise PermanentError(f"an image of {len(data)} bytes does not decode: {error}") from error
