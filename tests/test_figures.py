"""Figures of the demo set stand on the pages as docs/figures.json has them, and no page quotes one of its own."""

import importlib.util
import json
import re
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

PAGES = sorted(
    path for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")] if path.name not in ("methods.md", "bad_input.md")
)
SCORE = re.compile(r"(?<![\d.])0\.\d{3,4}(?!\d)")  # of macro F1, accuracy, nll, and differences
OWN = re.compile(r"<!-- (figures|set-up): .+? -->.*?<!-- /\1 -->", re.DOTALL)


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_figures", ROOT / "docs/write_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures(module: ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(module.FIGURES.read_text(encoding="utf-8"))
    return found


def test_pages_are_what_the_figures_make_of_them(module: ModuleType, figures: dict[str, Any]) -> None:
    used = set()
    for name in module.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert module.written(page, figures) == page, f"{name}: run `python docs/write_figures.py`"
        used |= {found[2] for found in module.BLOCK.finditer(page)}
    assert used == set(module.BLOCKS)


def test_another_figure_on_a_page_is_seen(module: ModuleType, figures: dict[str, Any]) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    score = f"{figures['metrics']['macro_f1']:.4f}"
    assert f"macro F1 {score}" in page
    assert module.written(page.replace(score, "0.9999"), figures) == page


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_scores_stand_in_blocks_that_say_where_they_come_from(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- figures:") + text.count("<!-- set-up:") == len(OWN.findall(text))
    assert SCORE.findall(OWN.sub("", text)) == []


def test_the_default_run_is_told_with_one_score(figures: dict[str, Any]) -> None:
    """Wherever else the base of the measurements is quoted, it is that of metrics.json."""
    score = figures["metrics"]["macro_f1"]
    for row in (
        figures["tta"]["identity_macro_f1"],
        figures["blend"]["runs"]["HEAD"],
        figures["decision"]["macro_f1_argmax"],
    ):
        assert row == pytest.approx(score, abs=1e-12)
    assert [row["a"] for row in figures["compare"].values()] == pytest.approx(
        [score] * len(figures["compare"]), abs=1e-12
    )
