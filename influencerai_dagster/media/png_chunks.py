"""Takes chunks out of PNG files without decoding them."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_MAX_PROFILE_BYTES = 1024**2  # Pillow refuses a file with a larger one


def without_texts(data: bytes) -> bytes:
    """Return a PNG without its texts and without a colour profile of absurd size.

    Tools write whole workflows into a picture, and Pillow fails the picture for a large one. What
    is no whole chain of chunks is returned as it is: the decoder says what is wrong with it.
    """
    view = memoryview(data)  # most have nothing to take out: no byte of those is copied
    kept: list[bytes | memoryview] = [SIGNATURE]
    is_changed, at = False, len(SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if kind in _TEXTS or (kind == b"iCCP" and _is_absurd_profile(data[at + 8 : end - 4])):
            is_changed = True
        else:
            kept.append(view[at:end])
        at = end
    return b"".join(kept) if is_changed else data


def _is_absurd_profile(chunk: bytes) -> bool:
    _, _, packed = chunk.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return True
    return bool(inflater.unconsumed_tail)
