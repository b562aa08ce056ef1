"""What the columns of a table seem to be."""

import pandas as pd
import pytest

from stages.new_project.columns import Columns, guess


def table(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns)


FILES = [f"{number:03}.jpg" for number in range(12)]
KINDS = ["cat", "dog", "horse"] * 4
PATIENTS = [f"p{number // 3}" for number in range(12)]


def test_files_labels_and_groups_are_known_by_their_names_and_content() -> None:
    found = guess(
        table(filename=FILES, patient_id=PATIENTS, note=[""] * 12, diagnosis=KINDS, split=["train", "Test"] * 6)
    )
    assert found == Columns("filename", "diagnosis", "patient_id", "split", ("diagnosis",), ("patient_id",))


def test_a_sole_column_that_could_be_a_label_is_it() -> None:
    assert guess(table(photo=FILES, colour=KINDS)).label == "colour"


def test_what_is_measured_is_no_label_beside_names() -> None:
    found = guess(table(photo=FILES, weight=["1.5", "2", "3.5"] * 4, colour=KINDS))
    assert found.label == "colour"
    assert found.labels == ("colour", "weight")


def test_several_that_could_be_are_a_question() -> None:
    found = guess(table(photo=FILES, colour=KINDS, shape=KINDS[::-1]))
    assert found.label is None
    assert found.labels == ("colour", "shape")


def test_what_is_different_in_every_row_is_no_label_and_no_group() -> None:
    found = guess(table(file=FILES, label=KINDS, person=[f"n{number}" for number in range(12)]))
    assert found.label == "label"
    assert found.group is None


@pytest.mark.parametrize("values", [["a", "b"] * 6, KINDS])
def test_a_split_is_one_by_its_values_too(values: list[str]) -> None:
    assert guess(table(file=FILES, label=KINDS, split=values)).split is None


def test_without_names_of_photos_there_is_no_column_of_files() -> None:
    assert guess(table(file=["one", "two"] * 6, label=KINDS)).file is None
