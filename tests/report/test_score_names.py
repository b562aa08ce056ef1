from stages.data.task_and_classes import CONTEST
from stages.report import score_names
from tests.report.made import CELLS, FOLDERS


def test_scores_of_the_contest_are_called_what_they_always_were() -> None:
    names = ("macro_f1", "f1_60plus", "nll", "accuracy", "f1_mask", "f1_age", "f1_2")
    assert [score_names.title(name, CONTEST) for name in names] == (
        ["macro F1", "60+ F1", "val_nll", "accuracy", "mask F1", "age F1", "F1 02 wear male 60+"]
    )
    assert [score_names.whole(name, CONTEST) for name in names] == (
        ["macro F1", "mean F1 of 60+", "val_nll", "accuracy", "F1 of mask alone", "F1 of age alone", "02 wear male 60+"]
    )


def test_a_subset_that_is_one_level_goes_by_it_and_another_by_its_own_name() -> None:
    assert score_names.title("f1_large", CELLS) == "10+ F1"
    assert score_names.title("f1_strong_large", CELLS) == "strong_large F1"


def test_a_single_axis_is_no_headline_of_its_own() -> None:
    keys = [key for key, *_ in score_names.headlines(FOLDERS)]
    assert "f1_label" not in keys
    assert {"f1_stain", "f1_size", "size_mae", "f1_large"} <= {key for key, *_ in score_names.headlines(CELLS)}


def test_only_numbers_are_classes() -> None:
    assert [score_names.of_class(name) for name in ("f1_0", "f1_60plus", "7", "nll")] == [True, False, False, False]
