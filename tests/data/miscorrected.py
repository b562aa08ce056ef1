"""What can be wrong with corrections.csv of two people (`1`: female, 30; `2`: male, 61), and what is odd and works.

Each stands in docs/bad_input.md by its name, with what prepare says.
"""

from collections.abc import Callable

from stages.base import paths
from stages.data.corrections import HEADER

ONE, TWO = "one/mask1.jpg", "two/mask1.jpg"
ANN, BOB = "ann,2026-11-27T06:40:00Z,", "bob,2026-11-27T07:10:00Z,"


def says(*lines: str, end: str = "\n", header: str = HEADER) -> Callable[[], object]:
    return lambda: paths.CORRECTIONS.write_text("\n".join([header, *lines]) + end, encoding="utf-8")


def raw(content: bytes) -> Callable[[], object]:
    return lambda: paths.CORRECTIONS.write_bytes(content)


FAULTS: dict[str, Callable[[], object]] = {
    "corrections: a column is missing": says(header="id,axis,old,new,who,when"),
    "corrections: semicolons": says(header=HEADER.replace(",", ";")),
    "corrections: cp949": raw(f"{HEADER}\n1,gender,female,male,김,,\n".encode("cp949")),
    "corrections: a quote that is not closed": says('1,gender,female,male,ann,,"seen', f"2,gender,male,female,{ANN}"),
    "corrections: too few values": says("1,gender,female", f"2,gender,male,female,{ANN}"),
    "corrections: no new value": says(f"1,gender,female,,{ANN}"),
    "corrections: a conflict of git": says(
        "<<<<<<< HEAD", f"1,age,30,31,{ANN}", "=======", f"2,age,61,62,{BOB}", ">>>>>>> bob"
    ),
    "corrections: a folder": lambda: paths.CORRECTIONS.mkdir(),
    "corrections: an unknown person": says(f"3,gender,female,male,{ANN}"),
    "corrections: an unknown photo": says(f"one/mask9.jpg,mask,wear,none,{ANN}"),
    "corrections: an eval photo": says(f"a.jpg,photo,there,removed,{ANN}"),
    "corrections: an unknown axis": says(f"1,sex,female,male,{ANN}"),
    "corrections: an unknown level": says(f"1,gender,female,mail,{ANN}"),
    "corrections: a level that is no number": says(f"1,age,30,old,{ANN}"),
    "corrections: an age beyond all": says(f"1,age,30,300,{ANN}"),
    "corrections: a photo that is neither there nor removed": says(f"{ONE},photo,there,gone,{ANN}"),
    "corrections: an old value that no longer matches": says(f"1,gender,male,female,{ANN}"),
    "corrections: two who disagree": says(f"1,age,30,25,{ANN}", f"1,age,30,61,{BOB}"),
    "corrections: one changes what another keeps": says(f"2,gender,male,female,{ANN}", f"2,gender,male,male,{BOB}"),
    "corrections: taken back, but not there": says(f"1,gender,male,female,{ANN}undone"),
    "corrections: a photo for what belongs to the person": says(f"{ONE},gender,female,male,{ANN}"),
    "corrections: a person for what belongs to the photo": says(f"1,mask,wear,none,{ANN}"),
    "corrections: one person, two genders": says(f"1,group,1,2,{ANN}"),
}

WORKS: dict[str, Callable[[], object]] = {
    "corrections: a header alone": says(),
    "corrections: an empty file": raw(b""),
    "corrections: a byte order mark, CRLF": raw(f"\ufeff{HEADER}\r\n1,gender,female,male,{ANN}\r\n".encode()),
    "corrections: two who agree": says(f"1,gender,female,male,{ANN}", f"1,gender,female,male,{BOB}"),
    "corrections: half a last line": says(f"1,gender,female,male,{ANN}", "2,gender,ma", end=""),
    "corrections: no end of the last line": says(f"1,gender,female,male,{ANN}seen", end=""),
}
