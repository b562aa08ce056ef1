"""The model card says what is known, on whom, and what is not."""

from pathlib import Path

import numpy as np

from stages import kfold, prepare
from stages.base.talk import SILENT
from stages.bundle import model_card, of_bundle, predictor
from stages.bundle.contents import Contents
from stages.by_hand import bundle
from stages.data import task_and_classes as tasks
from stages.params.load import load
from tests import layouts
from tests.bundle.made import draw_folds
from tests.tasks import task_of


def opened(folder: Path) -> Contents:
    return of_bundle.open_bundle(folder).contents


def test_a_card_tells_scores_intervals_and_rare_classes(bundled: Path) -> None:
    contents = opened(Path("out/bundle"))
    card = Path("out/bundle/README.md").read_text()
    scores = contents.scores
    interval = f"{scores['macro_f1_low']:.3f} to {scores['macro_f1_high']:.3f}"
    assert f"| macro F1 | {scores['macro_f1']:.3f} | {interval} |" in card
    assert "Measured out of fold on the 168 photos of 24 people of the training data" in card
    assert "no photo of the same person" in card
    assert "| class | photos | people | F1 | 95 % interval |" in card
    rare = [row for row in contents.classes if 0 < row["people"] < 10]
    assert rare
    assert "Rare: fewer than 10 people have" in card
    assert all(("low" in row) is (row["people"] >= 5) for row in contents.classes)
    assert f"a temperature, {contents.temperature:.2f}" in card
    assert "licence | not stated" in card
    assert "wear female &lt;30" in card
    assert 'timm.create_model("local-dir:FOLDER/fold0", pretrained=True)' in card


def test_each_kind_says_whose_scores_it_shows(bundled: Path) -> None:
    contents = opened(Path("out/bundle"))
    cards = {kind: model_card.text(contents.model_copy(update={"kind": kind})) for kind in ("folds", "fold", "refit")}
    assert "the ensemble of all folds, which answers here, was measured on no photo" in cards["folds"]
    assert "of which this bundle holds one" in cards["fold"]
    assert "their own score, calibration and decision rule were not measured" in cards["refit"]


def test_scores_of_epochs_that_were_chosen_on_the_scored_photos_are_said_to_read_too_high(bundled: Path) -> None:
    contents = opened(Path("out/bundle"))
    assert "Epochs were chosen" not in model_card.text(contents)
    chosen = contents.params | {"train": contents.params["train"] | {"select": "best_f1"}}
    card = model_card.text(contents.model_copy(update={"params": chosen}))
    assert (
        "Epochs were chosen on the photos that are scored (train.select: best_f1), so all scores above read too high"
        in card
    )
    assert f"macro F1 was {contents.scores['macro_f1_last']:.3f}" in card


def test_votes_that_are_no_probabilities_and_offsets_are_told(bundled: Path) -> None:
    contents = opened(Path("out/bundle"))
    hard = model_card.text(contents.model_copy(update={"vote": "hard"}))
    assert "shares of the networks' votes, no probabilities" in hard
    adjusted = contents.decision.model_copy(update={"rule": "adjusted"})
    assert "offsets favour macro F1" in model_card.text(contents.model_copy(update={"decision": adjusted}))


def test_of_a_thousand_classes_the_rarest_are_listed_and_names_are_no_markup(bundled: Path) -> None:
    contents, task = opened(Path("out/bundle")), task_of(1000)
    rows = tuple({"class": f"{number}|*b*", "f1": None, "photos": number} for number in range(1000))
    card = model_card.text(contents.model_copy(update={"task": tasks.to_json(task), "classes": rows}))
    assert "1000 classes" in card
    assert "| 0\\|\\*b\\* | 0 |" in card
    assert "| 100\\|" not in card
    assert "The 100 rarest of 1000; maskcli.json has all." in card
    assert "No groups are known" in card
    assert len(card) < 30_000


def test_a_folder_of_classes_without_groups_is_bundled_too() -> None:
    layouts.folder()
    params = load()
    prepare.run(params, SILENT)
    kfold.run(params, SILENT)
    draw_folds(params)
    found = bundle.run(params, Path("model"), bundle.Asked(), SILENT)
    assert found["networks"] == ["fold 0", "fold 1"]
    answers = of_bundle.open_bundle(Path("model.zip"))
    probabilities = predictor.probabilities(answers, np.zeros((2, 16, 16, 3), np.uint8))
    assert probabilities.shape == (2, 2)
    assert answers.task.class_names == ("cat", "dog")
    card = Path("model/README.md").read_text()
    assert "# label: 2 classes" in card
    assert "| class | photos | F1 | 95 % interval |" in card
    assert "Of other photos nothing was measured" in card
