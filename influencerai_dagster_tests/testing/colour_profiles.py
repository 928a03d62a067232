"""Colour profiles of images, made by hand: lcms makes none of Display P3 and none of greys."""

import struct


def display_p3() -> bytes:
    """A profile with the primaries of Display P3 and the curve of sRGB, as phones embed."""
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0)
    curve += b"".join(map(_fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    return _profile(
        b"RGB ",
        {
            b"rXYZ": _xyz(0.51512, 0.24120, -0.00105),
            b"gXYZ": _xyz(0.29198, 0.69225, 0.04189),
            b"bXYZ": _xyz(0.15710, 0.06657, 0.78407),
            b"rTRC": curve,
            b"gTRC": curve,
            b"bTRC": curve,
        },
    )


def linear_grey() -> bytes:
    """A profile of greys without a curve: 128 of 255 is half of the light."""
    return _profile(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    words = "test".encode("utf-16-be")
    text = b"mluc\0\0\0\0" + struct.pack(">II", 1, 12) + b"enUS"
    text += struct.pack(">II", len(words), 28) + words
    tags = {b"desc": text, b"wtpt": _xyz(0.96419, 1, 0.82489), **tags, b"cprt": text}
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += padded
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x04000000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += b"".join(map(_fixed, (0.9642, 1, 0.8249)))
    return header.ljust(128, b"\0") + table + body


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))
