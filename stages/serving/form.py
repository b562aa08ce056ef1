"""The photos in a multipart form (RFC 7578), from a body that is in memory as a whole: nothing is written to a disk."""

import re
from dataclasses import dataclass

BOUNDARY = re.compile(r'multipart/form-data\b.*?;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
DISPOSITION = re.compile(r"content-disposition:\s*form-data\s*;(.*)", re.IGNORECASE)
NAMED = re.compile(r'(?:^|[;\s])(name|filename)=(?:"((?:\\.|[^"\\])*)"|([^\s;"]*))', re.IGNORECASE)
MOST_HEAD = 16_384  # bytes of a field's header lines; a name takes a few hundred


class BadForm(Exception):
    """Why a form cannot be read, in one line."""


@dataclass(frozen=True)
class Part:
    """A field of a form; `file` is the name that its sender gives the file, None where the field is none."""

    field: str
    file: str | None
    content: bytes


def parts(content_type: str, body: bytes, most: int) -> list[Part]:
    """The fields of a form, in order. Raises BadForm, also where there are more than `most`."""
    found = BOUNDARY.match(content_type)
    if not found:
        raise BadForm("its Content-Type names no boundary")
    mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    # What stands before the first mark and after the last is not read (RFC 2046, 5.1.1).
    pieces = (b"\r\n" + body).split(mark, most + 2)[1:]
    fields: list[Part] = []
    for place, piece in enumerate(pieces, 1):
        if piece.startswith(b"--"):
            return fields
        if place == len(pieces):
            raise BadForm("it is cut off before its end")
        if len(fields) == most:
            raise BadForm(f"it has more than {most} fields")
        fields.append(_part(piece))
    raise BadForm("its boundary does not occur in it")


def _part(piece: bytes) -> Part:
    """From what stands between two marks: the rest of the first one's line, header lines, an empty line, the content."""
    end = piece.find(b"\r\n\r\n", 0, MOST_HEAD)
    # Of a field that has no end of its headers no more is looked at: as lines, 20 MB would take half a gigabyte, and seconds.
    lines = piece[: end if end >= 0 else MOST_HEAD].decode("utf-8", "replace").split("\r\n")
    disposition = next((match[1] for line in lines[1:] if (match := DISPOSITION.match(line))), None)
    if end < 0 or lines[0].strip() or disposition is None:
        raise BadForm(f"a field has no header `Content-Disposition: form-data`: {lines[-1][:80]!r}")
    names = {key.lower(): re.sub(r"\\(.)", r"\1", quoted or bare) for key, quoted, bare in NAMED.findall(disposition)}
    return Part(names.get("name", ""), names.get("filename"), piece[end + 4 :])
