"""bench/regret.py: what a rate loses against a grid, and how much of that is the luck of the best."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

LRS = [1e-3, 2e-3, 4e-3, 8e-3]


@pytest.fixture
def regret(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("regret")


def grid(regret: Any, right: list[float], name: str = "model.ce.3", loss: str = "ce") -> list[list[Any]]:
    """One training a rate, that answers so large a share of 7 photos of 200 people right, by luck of its own."""
    labels = np.random.default_rng(0).integers(0, 3, 1400)
    found = []
    for number, (lr, share) in enumerate(zip(LRS, right, strict=True)):
        wrong = np.random.default_rng(number + 1).random(1400) >= share
        entry = {"name": name, "lr": lr, "seed": 0, "groups": 5, "project": "p", "changes": {"loss": loss}}
        answers = np.where(wrong, (labels + 1) % 3, labels)
        found.append([regret.Trial(entry, labels, answers, np.repeat(np.arange(200), 7), 3)])
    return found


def test_a_rate_between_two_of_the_grid_is_scored_between_them(regret: Any) -> None:
    row = regret.judged("one", LRS, grid(regret, [0.3, 0.5, 0.7, 0.5]), float(np.sqrt(2e-3 * 4e-3)))
    assert row.auto == pytest.approx((row.scores[1] + row.scores[2]) / 2)
    assert row.regret == pytest.approx(0.1, abs=0.03)
    assert row.honest == pytest.approx(row.regret, abs=0.02), "where a rate is clearly best, no luck is in it"
    assert not row.outside
    assert regret.judged("one", LRS, grid(regret, [0.3, 0.5, 0.7, 0.5]), 1e-2).outside


def test_the_best_of_equal_rates_is_luck_which_the_honest_regret_has_not(regret: Any) -> None:
    row = regret.judged("one", LRS, grid(regret, [0.6] * 4), 2e-3)
    assert row.regret >= 0
    assert row.honest < row.regret + 1e-9
    assert abs(row.honest) < 0.02


def test_the_table_takes_the_rate_of_auto_json_and_reads_at_80_columns(regret: Any) -> None:
    cells = [grid(regret, [0.3, 0.5, 0.7, 0.5]), grid(regret, [0.7, 0.5, 0.5, 0.5], "model.f1.3", "f1")]
    text = regret.table(regret.rows([one for cell in cells for (one,) in cell], {"p 5 0 ": 4e-3}))
    assert text.startswith("regret of lr: auto over 2 settings: mean 0.000, worst 0.000\n")
    assert [line.split()[5] for line in text.splitlines()[3:]] == ["0.004", "0.001"], "f1 alone takes a quarter"
    assert max(map(len, text.splitlines())) <= 80


def test_the_page_has_a_place_for_the_table(regret: Any) -> None:
    assert len(regret.TABLE.findall(Path(ROOT / "docs/learning_rate.md").read_text(encoding="utf-8"))) == 1
