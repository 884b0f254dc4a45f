"""Pictures: how many pixels one has, by its header alone; to decode it is what a bomb waits for."""

from typing import Literal

PIXELS = 256 << 20
"""More than any camera makes; decoded, a gibibyte."""
HEADER_BYTES = 1 << 20
"""So far into a file its header is looked for while it comes; profiles and previews may stand before it."""
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers behind which the size stands (ITU T.81, B.1.1.3)."""
_MARKERS = 4_096
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def is_bomb(data: bytes) -> bool:
    """Tell whether it is a picture that nobody should decode."""
    return (pixels(data) or 0) > PIXELS


def pixels(data: bytes) -> int | None:
    """Count the pixels of a PNG, JPEG, GIF or WebP, whatever it is said to be; None where no size is found."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return _area(data[16:20], data[20:24], "big")
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return _area(data[6:8], data[8:10], "little")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return _jpeg(data) if data.startswith(b"\xff\xd8") else None


def _webp(data: bytes) -> int | None:
    match data[12:16]:
        case b"VP8X":
            size = _area(data[24:27], data[27:30], "little", plus=1)
        case b"VP8L" if len(data) > 24:  # noqa: PLR2004  14 bits each (RFC 9649, 3.4)
            bits = int.from_bytes(data[21:25], "little")
            size = ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
        case b"VP8 " if len(data) > 29:  # noqa: PLR2004  14 bits each (RFC 6386, 9.1)
            size = (int.from_bytes(data[26:28], "little") & 0x3FFF) * (int.from_bytes(data[28:30], "little") & 0x3FFF)
        case _:
            size = None
    return size


def _jpeg(data: bytes) -> int | None:
    """Go from marker to marker; the largest size of all counts: decoders differ in which they take."""
    at, found = 2, None
    for _ in range(_MARKERS):
        if at + 9 > len(data) or data[at] != 0xFF:  # noqa: PLR2004  every marker begins so
            return found
        marker = data[at + 1]
        if marker == 0xDA:  # noqa: PLR2004  from here on it is the picture
            return found
        if marker in _SOF:
            found = max(found or 0, _area(data[at + 7 : at + 9], data[at + 5 : at + 7], "big") or 0)
        if marker == 0xFF:  # noqa: PLR2004  fill bytes
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    # No camera writes so many: it hides something.
    return PIXELS + 1


def _area(width: bytes, height: bytes, order: Literal["big", "little"], *, plus: int = 0) -> int | None:
    if not width or not height:
        return None
    return (int.from_bytes(width, order) + plus) * (int.from_bytes(height, order) + plus)
