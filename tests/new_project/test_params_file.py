"""params.yaml of a new project: every key, and why what was chosen was chosen."""

import yaml

from stages.new_project import declare_task, params_file
from stages.params.load import load, parse
from stages.params.schema import Params
from tests.conftest import ROOT


def test_it_holds_every_key_and_means_what_it_was_made_of() -> None:
    own = load(ROOT / "params.yaml")
    text = params_file.text(own, "a title", {"image": "why so", "train": "and so"})
    assert parse(yaml.safe_load(text)) == own
    assert list(yaml.safe_load(text)) == list(Params.model_fields)
    lines = text.splitlines()
    assert lines[0] == "# a title"
    assert lines[lines.index("image:") - 1] == "# why so"
    assert "  age: {bins: [30, 60], regress: true, scale: 10.0}" in lines
    assert "  focal: {gamma: 2.0, alpha: none}" in lines


def test_every_key_that_dvc_yaml_names_is_there() -> None:
    value = yaml.safe_load(params_file.text(Params(), "", {}))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    for name in {name for stage in stages for name in stage.get("params", [])}:
        there = value
        for part in name.replace("${loss}", "ce").split("."):
            there = there[part]


def test_the_demo_has_this_repositorys_own_parameters() -> None:
    assert parse(declare_task.CONTEST) == load(ROOT / "params.yaml")
