"""Whether a photo file is whole, told from the structure of its format: decoders differ in what they say of a cut file.

What follows the photo is no part of it: the further pictures of an MPO, the film of a motion photo, a phone's notes, padding.
JPEG: ITU-T T.81, annex B. PNG: ISO/IEC 15948, chapter 5.
"""

import io
import re
import zlib
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from PIL import Image

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
EOI = b"\xff\xd9"
IEND = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
# In a scan's data 0xFF is followed by 0 (then it is a byte of the data), by a restart marker's code, or ends the scan.
AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
MARKER = re.compile(rb"\xff+([^\x00\xff])")
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
SOS, DRI = 0xDA, 0xDD
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment: TEM, RST0 to RST7, SOI
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15, but for DHT, JPG and DAC
# Laid in turn behind the data of a photo that lacks its end marker: where pixels need one more bit, they come out differing.
TAILS = (b"", bytes(4096), b"\x55" * 4096, b"\xaa" * 4096, bytes(range(1, 250, 3)) * 48)
ALL_BITS = 16  # of a coefficient that no scan has brought yet
PIECE = 2**20  # bytes


class State(Enum):
    WHOLE = "whole"
    UNENDED = "lacks its end marker and nothing else"
    CUT = "is cut off before its end"
    DAMAGED = "holds a part whose check sum is wrong"


@dataclass(frozen=True)
class Judged:
    """A photo file's state, and its bytes up to the photo's end, with an end marker."""

    state: State
    content: bytes


@dataclass
class Walk:
    """What a walk through a JPEG has met."""

    end: int = 0  # position after the end marker; 0: there is none
    components: bytes = b""  # their numbers
    restarts: bool = False  # whether restart markers stand in the scans' data
    scans: list[bytes] = field(default_factory=list)  # their headers
    last: slice = field(default_factory=lambda: slice(0))  # where the last scan's data lie


def judge(content: bytes) -> Judged:
    """Of a file that begins as a JPEG or PNG. It may be decoded for that: look at the size in its header before."""
    return _png(content) if content.startswith(PNG) else _jpeg(content)


def header_is_cut(content: bytes) -> bool:
    """Whether a file begins as a JPEG or PNG and ends before its pixels begin."""
    if content.startswith(PNG):
        return content.find(b"IDAT") < 0 and _png(content).state == State.CUT
    return content.startswith(JPEG) and not walk(content).scans


def _jpeg(content: bytes) -> Judged:
    met = walk(content)
    if met.end:
        return Judged(State.WHOLE, content[: met.end])
    data = _unpadded(content[: met.last.stop])
    if not met.scans or not _all_sent(met) or not _needs_no_more(data, _next_restart(met, data)):
        return Judged(State.CUT, content)
    return Judged(State.UNENDED, data + EOI)


def _unpadded(data: bytes) -> bytes:
    """Scan data without the zeros or ones that a copy which broke off leaves in place of the rest.

    Zeros may also be data, or decode as such: better a whole photo taken for a cut one than the other way round.
    """
    end = len(data.rstrip(b"\x00\xff"))
    while data[end : end + 2] == b"\xff\x00":  # 0xFF of the data
        end += 2
    return data[:end]


def walk(content: bytes) -> Walk:
    """Go through a JPEG from marker to marker, over all segments (a thumbnail's markers lie inside one), to its end."""
    met = Walk()
    at = 2
    while found := MARKER.search(content, at):
        code, at = found[1][0], found.end()
        if code == EOI[1]:
            met.end = at
            return met
        if code in ALONE:
            continue
        length = int.from_bytes(content[at : at + 2], "big")
        body = content[at + 2 : at + length]
        if len(body) < length - 2 or length < 2:
            return met
        at += length
        if code in FRAMES:
            met.components = body[6::3]
        elif code == DRI:
            met.restarts = any(body)
        elif code == SOS:
            met.scans.append(body)
            after = AFTER_SCAN.search(content, at)
            met.last = slice(at, after.start() if after else len(content))
            at = met.last.stop
    return met


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Height and width, px, as stored, from the frame header of a JPEG; None where there is none before its first scan."""
    at = 2 if content.startswith(JPEG) else len(content)
    while found := MARKER.search(content, at):
        code, at = found[1][0], found.end()
        if code in FRAMES:
            height, width = (int.from_bytes(content[at + 3 + skip : at + 5 + skip], "big") for skip in (0, 2))
            return (height, width) if height and width else None
        if code in (SOS, EOI[1]):
            return None
        if code not in ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return None


def _all_sent(met: Walk) -> bool:
    """Whether the scans' headers promise every bit: a progressive photo may break off between two scans.

    T.81, B.2.3 and G.1.1.1: a scan brings coefficients from the first to the last one named, but for some low bits.
    """
    lacking = {component: [ALL_BITS] * 64 for component in met.components}
    for header in met.scans:
        count = header[0] if header else 0
        if len(header) != 4 + 2 * count:
            return False
        first, last, bits = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] & 15
        for component in header[1 : 1 + 2 * count : 2]:
            for place in range(first, min(last, 63) + 1):
                lacking.setdefault(component, [ALL_BITS] * 64)[place] = bits
    return bool(lacking) and not any(any(bits) for bits in lacking.values())


def _next_restart(met: Walk, data: bytes) -> bytes:
    """The restart marker that would come next in the last scan; empty where there are none."""
    if not met.restarts:
        return b""
    seen = RESTART.findall(data, met.last.start)
    return bytes([0xFF, 0xD0 + (seen[-1][0] - 0xD0 + 1) % 8 if seen else 0xD0])


def _needs_no_more(data: bytes, restart: bytes) -> bool:
    """Whether a JPEG's pixels come out the same whatever follows: then none of them is missing.

    What follows is tried as the rest of the running interval and as an interval of its own.
    """
    first: np.ndarray | None = None
    for tail in [*TAILS, *(restart + tail for tail in TAILS if restart)]:
        try:
            with Image.open(io.BytesIO(data + tail + EOI)) as image:
                pixels = np.asarray(image)
        except Exception:  # Pillow raises many kinds for damaged files
            return False
        if first is not None and not np.array_equal(first, pixels):
            return False
        first = pixels
    return True


def _png(content: bytes) -> Judged:
    at, data = len(PNG), []
    while at + 12 <= len(content):
        length, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(content) or not name.isalpha():
            break
        critical = name[:1].isupper()
        if critical and zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return Judged(State.DAMAGED, content)
        if name == b"IEND":
            return Judged(State.WHOLE, content[:end])
        if name == b"IDAT":
            data.append(content[at + 8 : end - 4])
        at = end
    if _inflates_whole(b"".join(data)):
        return Judged(State.UNENDED, content[:at] + IEND)
    return Judged(State.CUT, content)


def _inflates_whole(data: bytes) -> bool:
    """Whether a zlib stream comes to its end, looked at piece by piece: it may hold far more than it is long."""
    stream = zlib.decompressobj()
    try:
        while data and not stream.eof:
            if not stream.decompress(data, PIECE) and not stream.eof:
                return False
            data = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof
