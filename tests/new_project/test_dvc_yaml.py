"""The stages of a project that `maskcli init` makes are those of this repository, but for their dependencies on code."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest
import yaml

from stages.new_project.dvc_yaml import CODE, Has, of_project
from tests.conftest import ROOT

TEXT = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
CONTEST = Has(
    ("${data.root}/train", "${data.root}/eval/info.csv", "${data.root}/eval/images"), True, 18, {"age": "people"}, True
)
FOLDER = Has(("${data.root}",), False, 3, {})


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_templates", ROOT / "docs/write_templates.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_templates_are_this_repositorys_own_files() -> None:
    copies = writer().copies()
    there = {path for path in writer().TEMPLATES.rglob("*") if path.is_file() and path.suffix != ".jinja"}
    assert there == set(copies), "run `python docs/write_templates.py`"
    for template, source in copies.items():
        assert template.read_bytes() == source.read_bytes(), "run `python docs/write_templates.py`"


def without_dependencies(text: str) -> Any:
    value = yaml.safe_load(text)
    for stage in value["stages"].values():
        del stage["deps"]
    return value


def test_a_contest_project_has_the_same_stages_and_plots_word_for_word() -> None:
    assert without_dependencies(of_project(TEXT, CONTEST)) == without_dependencies(TEXT)


@pytest.mark.parametrize("has", [CONTEST, FOLDER])
def test_a_project_depends_on_the_version_where_the_repository_depends_on_code(has: Has) -> None:
    own, made = (yaml.safe_load(text)["stages"] for text in (TEXT, of_project(TEXT, has)))
    for name, stage in made.items():
        others = [item for item in own[name]["deps"] if not item.startswith((*CODE, "data/", "${data."))]
        assert [item for item in stage["deps"] if item not in has.data] == [*others, "requirements.txt"]
        assert any(item.startswith(CODE) for item in own[name]["deps"])
    assert [name for name, stage in made.items() if set(has.data) <= set(stage["deps"])] == ["prepare", "eda"]


def test_without_an_eval_set_and_numbers_what_is_about_them_is_left_out() -> None:
    text = of_project(TEXT, FOLDER)
    own, made = yaml.safe_load(TEXT), yaml.safe_load(text)
    assert set(own["stages"]) - set(made["stages"]) == {"tta-predict"}
    for gone in ("eval_pixels", "tta-predict", "/ages."):
        assert gone in TEXT
        assert gone not in text
    assert len(made["plots"]) == len(own["plots"]) - 1


def test_every_axis_that_is_a_number_has_its_files_and_its_plot() -> None:
    made = yaml.safe_load(of_project(TEXT, Has(("${data.root}",), True, 6, {"weight": "groups", "size": "photos"})))
    outs = made["stages"]["eda"]["outs"]
    assert {"out/eda/weights.png", "out/eda/size_numbers.png"} <= {out for out in outs if isinstance(out, str)}
    assert {"out/eda/weights.csv": {"cache": False}} in outs
    assert {"out/eda/size_numbers.csv": {"cache": False}} in outs
    assert made["plots"][-2:] == [
        {
            "Groups by weight (dashed lines, where bins begin)": {
                "template": "numbers",
                "x": "weight",
                "y": {"out/eda/weights.csv": "groups"},
            }
        },
        {
            "Photos by size (dashed lines, where bins begin)": {
                "template": "numbers",
                "x": "size",
                "y": {"out/eda/size_numbers.csv": "photos"},
            }
        },
    ]


def test_of_many_classes_plots_show_those_that_matter() -> None:
    few, many = (of_project(TEXT, Has(("${data.root}",), False, classes, {})) for classes in (30, 31))
    templates = {
        text: {plot["template"] for one in yaml.safe_load(text)["plots"] for plot in one.values()}
        for text in (few, many)
    }
    assert templates[few] - templates[many] == {"per_class", "confusion"}
    assert templates[many] - templates[few] == {"worst_classes", "confused_pairs"}
    assert len(yaml.safe_load(many)["plots"]) == len(yaml.safe_load(few)["plots"])


def test_no_line_of_a_project_is_wider_than_the_repositorys() -> None:
    widest = max(map(len, TEXT.splitlines()))
    assert max(map(len, of_project(TEXT, CONTEST).splitlines())) <= widest
