"""Pictures: what would take gigabytes to decode is known by its first bytes."""

import struct
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.domain.pictures import PIXELS, is_bomb, pixels


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0" + zlib.compress(b"")


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"


def webp(kind: bytes, width: int, height: int) -> bytes:
    said = {
        b"VP8X": b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
        b"VP8L": b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little"),
        b"VP8 ": b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
    }[kind]
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + said


def jpeg(width: int, height: int, *, sof: int = 0xC0, before: bytes = b"") -> bytes:
    frame = struct.pack(">BBHBHH", 0xFF, sof, 11, 8, height, width) + b"\x01\0\x11\0"
    return b"\xff\xd8\xff\xe0\0\x04ab" + before + frame + b"\xff\xda\0\x02"


SIZED: dict[str, Callable[[int, int], bytes]] = {
    "PNG": png,
    "GIF": gif,
    "JPEG": jpeg,
    "progressive JPEG": lambda w, h: jpeg(w, h, sof=0xC2),
    "JPEG behind a profile": lambda w, h: jpeg(w, h, before=(b"\xff\xe2\xff\xff" + b"\0" * 65_533) * 9 + b"\xff\xff"),
    "JPEG of two sizes": lambda w, h: jpeg(1, 1)[:-4] + jpeg(w, h)[2:],
    "WebP, extended": lambda w, h: webp(b"VP8X", w, h),
    "WebP, lossless": lambda w, h: webp(b"VP8L", w, h),
    "WebP, lossy": lambda w, h: webp(b"VP8 ", w, h),
}


@pytest.mark.parametrize("form", SIZED)
def test_the_size_stands_in_the_header(form: str) -> None:
    picture = SIZED[form](640, 480)
    assert 640 * 480 == pixels(picture)
    assert not is_bomb(picture)
    widest = 16_383
    assert widest * widest == pixels(SIZED[form](widest, widest))
    if "WebP, loss" not in form:
        assert is_bomb(SIZED[form](65_000, 65_000))


def test_a_png_of_gigapixels_is_a_bomb_in_fifty_bytes() -> None:
    assert is_bomb(png(2**31 - 1, 2**31 - 1))
    assert not is_bomb(png(16_384, 16_384))
    assert 16_384 * 16_384 == PIXELS


@given(
    st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8X"]),
    st.binary(),
)
def test_whatever_it_is_it_is_looked_at(magic: bytes, rest: bytes) -> None:
    assert (pixels(magic + rest) or 0) >= 0


@pytest.mark.parametrize("marker", [b"\xff", b"\xff\xd0", b"\xff\xe0\0\x02", b"\xff\xc0\0\x02"])
def test_a_jpeg_of_nothing_but_markers_takes_no_time_and_is_no_picture(marker: bytes) -> None:
    begun = time.monotonic()
    assert is_bomb(b"\xff\xd8" + marker * ((25 << 20) // len(marker)))
    assert time.monotonic() - begun < 1
