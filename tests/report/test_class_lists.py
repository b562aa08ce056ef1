import numpy as np

from stages.report import class_lists

F1 = np.array([0.9, 0.0, 0.0, 0.5, 0.0])
PHOTOS = np.array([100, 3, 40, 7, 0])


def test_the_lowest_f1_comes_first_and_of_equal_ones_that_of_most_photos() -> None:
    assert class_lists.lowest(F1, PHOTOS).tolist() == [2, 1, 3, 0]
    assert class_lists.lowest(F1, PHOTOS, 1).tolist() == [2]
    assert class_lists.lowest(F1, PHOTOS, fewest=5).tolist() == [2, 3, 0]


def test_the_rarest_come_first_and_classes_without_photos_never() -> None:
    assert class_lists.rarest(F1, PHOTOS).tolist() == [1, 3, 2, 0]


def test_pairs_are_ranked_by_the_photos_mistaken_and_the_diagonal_is_none() -> None:
    counts = np.array([[90, 5, 0], [2, 1, 5], [0, 0, 8]])
    assert class_lists.confused(counts).tolist() == [[1, 2], [0, 1], [1, 0]], "of equals the rarer true class"
    assert class_lists.confused(np.diag([3, 4])).shape == (0, 2)


def test_long_names_are_cut_in_the_middle_and_stay_apart() -> None:
    assert class_lists.cut("incorrect female 30-59") == "incorrect female 30-59"
    assert class_lists.cut("a" * 20 + "b" * 20, 9) == "aaaa…bbbb"
    names = [f"a very long name of a class with {part} in its middle, and an end" for part in ("this", "that")]
    one, other = class_lists.unlike(names, [7, 8])
    assert one != other
    assert one.startswith("7 a very long")
    assert max(map(len, (one, other))) <= class_lists.LONGEST


def test_a_sentence_names_a_few() -> None:
    assert class_lists.listed(["a", "b"]) == "a, b"
    assert class_lists.listed([str(number) for number in range(100)]) == "0, 1, 2, 3, 4, 5 and 94 more"
