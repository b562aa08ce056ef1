"""bench/run.py: goals and their verdicts, the results that are kept, and the page that is written."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT, command

HERE = {"cpu": "Some CPU", "cores": 2, "memory_gib": 7.6, "gpu": "none", "system": "Linux", "python": "3.11"}
MACHINE: dict[str, Any] = HERE | {"versions": {"torch": "2.13.0"}}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "bench/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_run"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def result(date: str = "2026-01-02 10:00 UTC", **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"goals": {}, "tables": [], "notes": []}
    return {"date": date, "commit": "abc1234", "seconds": 5, "machine": MACHINE} | plain | more


@pytest.mark.parametrize(
    ("key", "value", "verdict"),
    [
        ("input_ratio_test_resnet_64x48", 0.97, "met"),
        ("input_ratio_test_resnet_64x48", 0.969, "not met"),
        ("cv_ratio_to_fastest_peer", 0.6, "met"),
        ("cv_ratio_to_fastest_peer", 0.61, "not met"),
        ("startup_help_seconds", 0.31, "not met"),
        ("startup_dvc_repro_ratio", 1.3, "met"),
    ],
)
def test_a_goal_is_met_on_its_bound_and_not_beyond(bench: ModuleType, key: str, value: float, verdict: str) -> None:
    assert {row[0]: row[3] for row in bench.verdicts({key: value})}[key] == verdict


def test_goals_without_a_measurement_and_measurements_without_a_goal_are_shown(bench: ModuleType) -> None:
    rows = {row[0]: row[1:] for row in bench.verdicts({"cv_ratio_to_plain": 0.5})}
    assert rows["cv_ratio_to_plain"] == ["0.5", "", ""]
    assert rows["cv_ratio_to_fastest_peer"] == ["not measured", "<= 0.6", "unknown"]


def test_running_one_script_keeps_the_others_results(bench: ModuleType) -> None:
    old = bench.joined({"scripts": {}}, "startup", result(goals={"startup_help_seconds": 0.2}))
    new = bench.joined(old, "input", result("2026-02-03 10:00 UTC", goals={"input_ratio_a": 0.98}))
    assert list(new["scripts"]) == ["input", "startup"]
    assert new["scripts"]["startup"] == old["scripts"]["startup"]
    assert new["goals"] == {"input_ratio_a": 0.98, "startup_help_seconds": 0.2}


def test_a_script_that_fails_takes_its_old_goals_with_it(bench: ModuleType) -> None:
    old = bench.joined({"scripts": {}}, "startup", result(goals={"startup_help_seconds": 0.2}))
    failed = {"date": "2026-02-03 10:00 UTC", "commit": "def5678", "seconds": 1, "machine": MACHINE, "error": "no data"}
    new = bench.joined(old, "startup", failed)
    assert new["goals"] == {}
    assert "Failed: no data" in bench.page(new)


def test_page_has_the_goals_first_then_each_scripts_tables_and_notes(bench: ModuleType) -> None:
    tables = [{"title": "Times", "columns": ["program", "s"], "rows": [["a|b", 1.23456], ["c", None]]}]
    elsewhere = MACHINE | {"cpu": "Another CPU"}
    found = bench.joined({"scripts": {}}, "startup", result(tables=tables, notes=["Said once."], machine=elsewhere))
    found = bench.joined(found, "input", result("2026-02-03 10:00 UTC", goals={"input_ratio_a": 0.5}))
    page = bench.page(found)
    assert "| `input_ratio_a` | 0.5 | >= 0.97 | not met |" in page
    assert "| a\\|b | 1.235 |\n| c |  |" in page
    assert "- Said once." in page
    assert page.index("Some CPU") < page.index("## Goals") < page.index("input.py`") < page.index("startup.py`")
    assert page.index("startup.py`") < page.index("Another CPU")


def test_a_scripts_last_line_is_read_and_its_failure_told_in_one(bench: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "some.py"
    script.write_text('print(\'talk\'); print(\'{"goals": {"a": 1}, "tables": [], "notes": []}\')')
    assert bench.run(script) == {"goals": {"a": 1}, "tables": [], "notes": []}
    script.write_text("raise ValueError('no such folder')")
    assert bench.run(script) == {"error": "ValueError: no such folder"}
    script.write_text("print('done')")
    assert "not the JSON" in bench.run(script)["error"]
    script.write_text("import time; time.sleep(60)")
    assert "more than 0.5 s" in bench.run(script, 0.5)["error"]
    assert bench.run(tmp_path / "none.py") == {"error": "there is no none.py"}


def test_help_of_no_command_imports_anything_heavy() -> None:
    code = (
        "import sys\nfrom typer.main import get_command\nfrom typer.testing import CliRunner\nfrom cli.main import app\n"
        "for name in get_command(app).commands:\n"
        "    assert CliRunner().invoke(app, [name, '--help']).exit_code == 0, name\n"
        "print(sorted({'torch', 'pandas', 'sklearn', 'dvc', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert command(ROOT, sys.executable, "-c", code).stdout.strip() == "[]"
