import base64
import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference
from stages.judge.paired_difference import Asked
from stages.judge.training_noise import Training
from stages.report import verdicts
from stages.report.html import class_section, page, page_scores
from stages.report.html.page import Run
from stages.report.html.suspect_labels import Suspects
from stages.report.html.worst_photos import Heat
from tests.report import browser
from tests.report.made import CELLS, FOLDERS, MANY, long_tailed, run


def noise(names: set[str]) -> page.Pictures:
    """Photos that JPEG cannot make small."""
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (144, 108, 3), dtype=np.uint8) for name in sorted(names)}


def nothing(names: set[str]) -> page.Pictures:
    return {}


def compared(first: Run, second: Run) -> paired_difference.Comparison:
    a, b = (
        [
            Training(
                bootstrap.of_run(
                    bootstrap.numbered(one.oof.group), one.oof.labels, one.oof.predictions, one.oof.losses, classes=18
                )
            )
        ]
        for one in (first, second)
    )
    return paired_difference.Comparison(
        first.name, second.name, paired_difference.compare(a, b, Asked(200, 0)), ["a note on <both>"], first.task
    )


RUNS = [
    run("main"),
    run("a-rather-long-name-of-an-experiment", 2, params={"seed": 0, "loss": "focal", "train": {"epochs": 3}}),
]


def test_names_from_right_to_left_keep_what_stands_beside_them_in_its_place(blank_charts: None) -> None:
    axis = {
        "id": "1",
        "axis": "label",
        "given": "חתול שחור",
        "suggested": "חתול קטן",
        "why": "",
        "value": "",
        "decided": "",
    }
    row = axis | {"ambiguous": 0, "score": 0.9, "photos": "1.png"}
    text = page.build([replace(RUNS[0], suspects=Suspects("one", [row]))], None, 50, 0, nothing)
    (heading,) = re.findall(r"<h4>label: .*?</h4>", text)
    assert "<bdi>חתול שחור</bdi>" in heading
    assert "→ <bdi>חתול קטן</bdi>" in heading
    assert re.search(r"<dd class=\"wrong\"><bdi>[^<]+</bdi>", text)


@pytest.fixture(scope="module")
def two() -> str:
    """The page of two runs with photos."""
    return page.build(RUNS, compared(*RUNS), 100, 0, noise)


@pytest.fixture
def blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take most of the time; not every test is about them."""
    monkeypatch.setattr(page.charts, "_svg", lambda figure: "<svg/>")


def text_of(built: str) -> str:
    """What a reader sees, without tags and pictures."""
    body = built[built.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def charts_of(built: str) -> list[str]:
    return [
        base64.b64decode(data).decode()
        for data in re.findall(r'src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"', built)
    ]


def test_the_page_says_the_numbers_of_the_run(blank_charts: None) -> None:
    made = run("workspace")
    shown = text_of(page.build([made], None, 100, 0, nothing))
    assert "0.6543 macro F1, 0.6001 to 0.7002 30 people, 210 photos, 2 folds, loss ce" in shown
    assert "in neither truth nor prediction: none female 60+" in shown
    assert (
        "ECE 0.0321 (0.0000 to 0.0400: not told from chance), debiased 0.0200, by chance 0.0180, "
        "fitted temperature 1.250 (1.100 to 1.400)." in shown
    )
    assert "expected calibration error (ECE) ↓ 0.0321 0.0000 to 0.0400" in shown
    assert "train.epochs 3" in shown
    worst = made.oof.losses.argmax()
    assert f"loss {made.oof.losses[worst]:.2f} true" in shown
    assert shown.count("photo not found") == 40 + min(40, int((made.oof.predictions != made.oof.labels).sum()))


def test_a_calibration_error_above_chance_is_not_called_chance_and_one_of_an_earlier_version_stands_alone(
    blank_charts: None,
) -> None:
    made = run("workspace")
    told = text_of(page.build([replace(made, scores=made.scores | {"ece_low": 0.01})], None, 100, 0, nothing))
    assert "ECE 0.0321 (0.0100 to 0.0400), debiased 0.0200" in told
    earlier = {"macro_f1": 0.6, "ece": 0.0321, "temperature": 1.25}
    assert "ECE 0.0321, fitted temperature 1.250." in text_of(
        page.build([replace(made, scores=earlier)], None, 100, 0, nothing)
    )


def test_two_runs_stand_side_by_side_with_their_difference_and_only_the_params_that_differ(two: str) -> None:
    shown = text_of(two)
    row = compared(*RUNS).rows[0]
    assert f"{row.difference:+.4f} {row.low:+.4f} to {row.high:+.4f} {row.verdict}" in shown
    assert "a note on <both>" in shown
    assert f"{verdicts.answer(compared(*RUNS))}." in shown
    assert "key main a-rather-long-name-of-an-experiment loss ce focal" in shown
    assert "train.epochs" not in shown
    # Of each run two losses, as they minimised other things, and two matrices. Over each other: two curves, two of the learning
    # rate, calibration, and F1.
    assert len(set(charts_of(two))) == 2 * (2 + 2) + 2 + 2 + 1 + 1


def test_runs_that_minimised_the_same_share_their_loss_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(page.charts, "_svg", lambda figure: "<svg/>")
    own = page.charts.by_epoch

    def kept(runs: list[page.Course], column: str, *rest: Any) -> str:
        drawn.append((column, [run.name for run in runs]))
        return own(runs, column, *rest)

    monkeypatch.setattr(page.charts, "by_epoch", kept)
    page.build([run("a"), run("b", 2)], None, 50, 0, nothing)
    assert drawn == [(column, ["a", "b"]) for column in ("train_loss", "val_loss", "val_nll", "val_f1", "lr")]
    drawn.clear()
    page.build(RUNS, None, 50, 0, nothing)
    assert drawn[:4] == [(column, [one.name]) for one in RUNS for column in ("train_loss", "val_loss")]
    assert {len(names) for _, names in drawn[4:]} == {2}


def test_the_page_begins_with_the_answer_and_where_it_comes_from(blank_charts: None) -> None:
    made = run(
        "workspace", origin="commit 1234567, results of 2026-01-02, data 00ff", before="it is better than before"
    )
    shown = text_of(page.build([made], None, 100, 0, nothing))
    assert shown.startswith(
        "maskcli report: workspace Macro F1 0.6543, 95 % interval 0.6001 to 0.7002. it is better than before. "
        "commit 1234567, results of 2026-01-02, data 00ff Numbers"
    )
    both = text_of(page.build(RUNS, compared(*RUNS), 100, 0, nothing))
    assert both.startswith(
        f"maskcli report: main and {RUNS[1].name} {verdicts.answer(compared(*RUNS))}. main: macro F1 0.6543, 95 % interval"
    )


def test_mistakes_stand_beside_what_the_models_looked_at_and_the_other_photos_do_not(blank_charts: None) -> None:
    made = run("main")
    wrong = made.oof.at(page_scores.confident_mistakes(made.oof, 40))
    pixels, answer = noise({"a"})["a"], CONTEST.class_names[wrong.predictions[0]]
    overlays = {
        str(wrong.photo[0]): [(answer, pixels)],
        str(wrong.photo[1]): [("age: 60+", pixels), ("mask: none", pixels)],
    }
    built = page.build([replace(made, heat=Heat("What speaks for it.", overlays))], None, 100, 0, noise)
    assert built.count("<figure>") == 3
    assert "<figure>" not in built[: built.index('id="mistakes"')]
    assert f'alt="what speaks for {answer} in {wrong.photo[0]}"' in html.unescape(built)
    assert re.findall("<figcaption>(.*?)</figcaption>", built) == ["age: 60+", "mask: none"], "the answer stands there"
    assert "What speaks for it. Nothing most." in text_of(built)
    none = page.build([replace(made, heat=Heat("No heat maps: a line."))], None, 100, 0, noise)
    assert "No heat maps: a line." in text_of(none)
    assert 'class="ramp"' not in none


def test_one_person_does_not_look_like_many(blank_charts: None) -> None:
    made = run("main")
    built = page.build([made], None, 100, 0, nothing)
    section = built[built.index('id="highest"') : built.index('id="mistakes"')]
    worst = made.oof.group[np.argsort(-made.oof.losses)[:40]]
    assert len(set(worst)) < 40, "else nothing is tried here"
    people = re.findall(r'<li class="group">\s*<h4><bdi>(\d+)</bdi><span class="interval">, (\d+) of 7 photos', section)
    assert people == [(person, str((worst == person).sum())) for person in dict.fromkeys(worst.tolist())]
    assert section.count('<li class="photo">') == 40


def test_the_objective_is_the_one_that_was_trained_with_whatever_params_say_now(blank_charts: None) -> None:
    made = run("main")
    trained = replace(made, history=made.history.assign(objective="focal (gamma 2, alpha none)"))
    assert "2 folds, loss focal (gamma 2, alpha none)" in text_of(page.build([trained], None, 100, 0, nothing))


def test_two_runs_that_cannot_be_compared_say_why(blank_charts: None) -> None:
    shown = text_of(page.build(RUNS, "other people", 100, 0, nothing))
    assert "No paired difference: other people." in shown


def test_names_are_escaped_wherever_they_stand() -> None:
    evil = "<script>alert('x')</script>\"&"
    made = run(f"a{evil}", params={"loss": f"b{evil}", f"c{evil}": 1})
    made = replace(made, oof=replace(made.oof, photo=np.char.add(made.oof.photo, f"d{evil}")))
    built = page.build([made], None, 100, 0, noise)
    assert "<script" not in built
    assert "x')</script>\"" not in built
    for letter in "abcd":
        assert f"{letter}{evil}" in html.unescape(re.sub("<wbr>", "", built)), letter
    assert not any("<script" in chart for chart in charts_of(built))


def test_nothing_is_fetched(two: str) -> None:
    built = two
    assert "default-src 'none'" in built
    assert "http" not in built.replace("http-equiv", "")
    for target in re.findall(r'(?:src|href)="([^"]*)"', built):
        assert target.startswith("data:") or f'id="{target.removeprefix("#")}"' in built
    for chart in charts_of(built):
        assert not re.findall(r'(?:href|src)="(?!#)', chart)
        assert not re.findall(r"url\((?!#)", chart)


def test_the_page_is_under_five_megabytes(two: str) -> None:
    assert len(re.findall('src="data:image/jpeg', two)) > 150
    assert len(two.encode()) < 5_000_000


def test_the_page_is_kept_under_its_limit_at_the_cost_of_the_photos(
    blank_charts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, pair = RUNS, compared(*RUNS)
    built = page.build(runs, pair, 100, 0, noise)
    monkeypatch.setattr(page, "LIMIT", len(built.encode()) - 1)
    smaller = page.build(runs, pair, 100, 0, noise)
    assert len(smaller.encode()) < len(built.encode())
    monkeypatch.setattr(page, "LIMIT", 100_000)
    with pytest.raises(page.UserError, match="larger than 100000 bytes"):
        page.build(runs, pair, 100, 0, noise)


def test_early_and_odd_results_are_shown_too() -> None:
    """One epoch, a loss that is not finite, no suggestion, metrics of an older version."""
    made = run("old")
    history = made.history[made.history["epoch"] == 1].assign(train_loss=np.nan, val_loss=np.inf)
    odd = replace(made, history=history, lr_suggestions=made.lr_suggestions.iloc[:0], scores={"macro_f1": 0.1})
    assert "0.1000 macro F1" in text_of(page.build([odd], None, 100, 0, nothing))


def test_without_groups_the_page_speaks_of_photos_and_gathers_none(blank_charts: None) -> None:
    made = run("workspace", task=FOLDERS)
    built = page.build([made], None, 100, 0, nothing)
    shown = text_of(built)
    assert "the one fold model that never saw it (OOF). Intervals are 95 %, bootstrap-t over photos" in shown
    assert "0.7002 210 photos, 2 folds" in shown
    assert "of a class with fewer than 5 photos" in shown
    assert not re.findall("person|people|group", shown)
    assert "<h4>" not in built
    assert built.count('<li class="photo">') > 40


def test_a_task_of_groups_speaks_of_them_and_has_its_own_axes_and_subsets(blank_charts: None) -> None:
    scores = {
        "macro_f1": 0.6,
        "f1_large": 0.5,
        "f1_strong_large": float("nan"),
        "f1_stain": 0.4,
        "f1_size": 0.3,
        "size_mae": 1.2,
    }
    shown = text_of(page.build([run("workspace", task=CELLS, scores=scores)], None, 100, 0, nothing))
    assert "never saw its group (OOF)" in shown
    assert "30 groups, 210 photos" in shown
    assert "they stand by group, the group with the worst photo first" in shown.lower()
    for name in ("F1 of the 10+ classes ↑ 0.5000", "F1 of the strong_large classes ↑ –", "F1 of stain alone ↑ 0.4000",
                 "F1 of size bin alone ↑ 0.3000", "mean absolute error of size ↓ 1.2000"):  # fmt: skip
        assert name in shown
    assert not re.findall("person|people|gender", shown)


@pytest.fixture(scope="module")
def many() -> str:
    """The page of a run of 1,000 classes, most of them rare."""
    return page.build([run("workspace", task=MANY, oof=long_tailed(MANY, 3000))], None, 50, 0, noise)


def test_of_many_classes_the_page_shows_all_in_pictures_and_lists_those_that_matter(many: str) -> None:
    shown, made = text_of(many), long_tailed(MANY, 3000)
    counts = np.zeros((1000, 1000), int)
    np.add.at(counts, (made.labels, made.predictions), 1)
    mistakes = counts - np.diag(np.diag(counts))
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    most, of = mistakes[true, predicted], counts[true].sum()
    row = f"{MANY.class_names[true]} {MANY.class_names[predicted]} {most} {100 * most / of:.0f} % of {of}"
    assert row in shown.replace("\u00a0", " ")
    assert f"{(mistakes > 0).sum() - 20} more pairs are mistaken" in shown
    assert "Lowest F1, 20 of the classes with 5 photos or more" in shown
    assert "Fewest photos, 20 classes" in shown
    assert "all 1000 are in out/oof-ensemble/per_class.csv" in shown
    absent = 1000 - len(np.union1d(made.labels, made.predictions))
    assert f"and {absent - 6} more" in shown
    assert len(many.encode()) < 3_000_000
    assert len(set(charts_of(many))) == 6 + 1 + 1 + 3, "curves, a matrix, calibration, and three of F1"


def test_a_picture_of_many_classes_carries_its_dots_itself(many: str) -> None:
    for chart in charts_of(many):
        assert not re.findall(r'(?:href|src)="(?!#|data:image/png)', chart)


def test_an_audits_suspects_stand_with_their_photos_and_are_named_safely() -> None:
    row = {
        "id": "000_x/mask0.jpg",
        "axis": "mask",
        "given": "incorrect",
        "suggested": "none",
        "score": 0.973,
        "ambiguous": 0,
        "value": "",
        "photos": "000_x/mask0.jpg|000_x/mask1.jpg|<b>.jpg",
        "why": "looks none (0.97)",
        "decided": "kept",
    }
    person = row | {"id": "<b>", "axis": "age", "given": "30-59", "value": "59", "ambiguous": 1, "photos": "a.jpg"}
    audited = replace(RUNS[0], suspects=Suspects("2 labels are likely wrong.", (row, person)))
    found = page.build([audited], None, 100, 0, lambda names: noise(names & {"000_x/mask0.jpg", "000_x/mask1.jpg"}))
    section = found[found.index('<section id="suspects">') : found.index('<section id="params">')]
    assert "2 labels are likely wrong." in section
    assert "97\u00a0%" in section
    assert "<bdi>30-59</bdi> (59)" in section
    assert ", ambiguous" in section
    assert "<b>" not in section
    assert section.count("<img") == 2
    assert section.count("photo not found") == 2
    assert section.count('class="strip own"') == 1, "a photo's own label marks that photo"


def test_without_an_audit_the_page_says_nothing_of_suspects(two: str) -> None:
    assert 'id="suspects"' not in two
    assert "#suspects" not in two


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_of_many_classes_opens_in_a_browser(many: str, tmp_path: Path, width: int) -> None:
    report = tmp_path / "report.html"
    report.write_text(many, encoding="utf-8")
    seen = browser.look(report, width, tmp_path / "profile")
    assert seen["broken"] == 0
    assert seen["body"] <= 0, seen["outside"]
    assert seen["outside"] == []
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["scaled"] == []


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser_on_a_laptop_and_on_a_phone(two: str, tmp_path: Path, width: int) -> None:
    report = tmp_path / "report.html"
    report.write_text(two, encoding="utf-8")
    seen = browser.look(report, width, tmp_path / "profile")
    assert seen["images"] > 160
    assert seen["broken"] == 0
    assert seen["body"] <= 0, seen["outside"]
    assert seen["outside"] == []
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["charts"] == len(charts_of(two))
    assert seen["scaled"] == [], "a chart that is scaled has letters of another size than the others"
    assert seen["classes"] == class_section.WIDTHS[width < 700]
