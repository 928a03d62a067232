"""Remove chunks of PNG files without decoding them."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_MAX_CHUNKS = 100_000  # of 8 KB each, as libpng writes them, that is 800 MB
_MAX_PROFILE_BYTES = 1024**2  # Pillow refuses a file with a larger one


def without_texts(data: bytes) -> bytes:
    """Return a PNG without its texts and without a colour profile of absurd size, or a second one.

    Tools write whole workflows into an image, and Pillow fails the image for a large one. What
    is not a complete chain of chunks is returned as it is: the decoder says what is wrong with it.

    Raises:
        ValueError: it has more chunks than any encoder writes; each costs the decoder time.
    """
    view = memoryview(data)  # most have nothing to take out: no byte of those is copied
    kept: list[bytes | memoryview] = [SIGNATURE]
    is_changed, has_profile, at, num_chunks = False, False, len(SIGNATURE), 0
    while at + 12 <= len(data):
        num_chunks += 1
        if num_chunks > _MAX_CHUNKS:
            raise ValueError(f"it has more than {_MAX_CHUNKS} chunks")
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        is_profile = kind == b"iCCP"
        if kind in _TEXTS or (
            is_profile and (has_profile or _is_absurd_profile(data[at + 8 : end - 4]))
        ):
            is_changed = True
        else:
            kept.append(view[at:end])
        has_profile |= is_profile
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
