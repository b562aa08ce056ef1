import unicodedata

import pytest

from stages.data import level_names


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "100"], ("9", "10", "100")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["1.5", "-2", "0"], ("-2", "0", "1.5")),
        (["+9007199254740993", "9007199254740992"], ("9007199254740992", "+9007199254740993")),  # above 2**53
        (["inf", "1e5", "nan"], ("1e5", "inf", "nan")),
        ([], ()),
    ],
)
def test_names_are_in_sorted_order_and_numbers_by_their_value(names: list[str], ordered: tuple[str, ...]) -> None:
    assert level_names.ordered(names) == ordered


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["cat", "Cat"], "`Cat` and `cat` differ only in case"),
        (["Straße", "STRASSE"], "`STRASSE` and `Straße` differ only in case"),
        ([unicodedata.normalize(form, "é") for form in ("NFC", "NFD")], "differ only in the form of Unicode"),
        (["7", "007"], "`007` and `7` differ only in how the number is written"),
        (["1", "1.0"], "`1` and `1.0` differ only in how the number is written"),
        (["0", "-0"], "`-0` and `0` differ only in how the number is written"),
        (["red  fox", "red fox"], "`red  fox` and `red fox` differ only in blanks or invisible characters"),
        (["cat", "cat\u200b"], "`cat` and `cat\\u200b` differ only in blanks or invisible characters"),
        (["Cat ", "cat"], "`Cat ` and `cat` differ only in case, blanks or how they are written"),
        (["1152921504606846976", "1152921504606846977"], ""),  # ids above what a float tells apart
        (["\uff10\uff11", "1"], "`1` and `０１` differ only in case, blanks or how they are written"),
        (["\ue001", "\ue002"], ""),  # of a private font
        (["B\udce4r", "B\udcf6r"], ""),  # of folders that are not UTF-8
        (["1", "2", "a", "b1"], ""),
        (["nan", "inf"], ""),
    ],
)
def test_two_names_that_are_one_are_told(names: list[str], problem: str) -> None:
    assert level_names.clash(names).endswith(problem)
    assert bool(level_names.clash(names)) == bool(problem)


def test_codes_of_names_and_of_those_that_are_no_level() -> None:
    assert level_names.codes(["b", "x", "a", ""], ("a", "b")).tolist() == [1, -1, 0, -1]
