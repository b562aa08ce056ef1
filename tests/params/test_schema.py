import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotated_types import Gt, Le

from stages.base.errors import UserError
from stages.learn.losses import LOSSES
from stages.learn.samplers import SAMPLERS
from stages.params.load import load, parse
from stages.params.loss_options import Losses
from stages.params.model_and_training import Sampler
from stages.params.schema import Params
from tests.conftest import ROOT


def keys(value: Any) -> Any:
    """A mapping's keys, nested, without its values."""
    return {name: keys(inner) for name, inner in value.items()} if isinstance(value, dict) else None


def test_params_yaml_as_it_is_shipped_spells_out_the_defaults_of_the_schema() -> None:
    """A user's own values are no fault: they stand in a file that git sees changed, or beside results (dvc.lock)."""
    changed = subprocess.run(["git", "status", "--porcelain", "params.yaml"], cwd=ROOT, capture_output=True, text=True)
    if changed.stdout or (ROOT / "dvc.lock").exists():
        pytest.skip("params.yaml is a user's")
    assert load(ROOT / "params.yaml") == parse({"subsets": {"60plus": {"age": "60+"}}})
    written, known = yaml.safe_load((ROOT / "params.yaml").read_text()), Params().model_dump(mode="json")
    assert written.pop("subsets") == {"60plus": {"age": "60+"}}
    assert known.pop("subsets") == {}
    assert all(set(axis) <= set(known["axes"][name]) for name, axis in written["axes"].items())
    assert keys(written) | {"axes": None} == keys(known) | {"axes": None}


def test_the_defaults_are_those_of_params_yaml_also_where_paths_have_backslashes() -> None:
    code = """
import pathlib
own, pathlib.Path = pathlib.Path, pathlib.PureWindowsPath
import stages.base.paths
pathlib.Path = own
from stages.params.model_and_training import Model, Plugins
from stages.params.schema import Pseudo
print(Model().weights, Plugins().models, Plugins().losses, Pseudo().labels)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "weights/none plugins/none plugins/none pseudo/none.csv\n"


@pytest.mark.parametrize("preset", sorted(ROOT.glob("presets/*.yaml")), ids=lambda path: path.stem)
def test_presets_are_valid_and_hold_the_keys_dvc_yaml_names(preset: Path) -> None:
    load(preset)
    content = yaml.safe_load(preset.read_text())
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for key in stage["params"]:
            value = content
            for part in key.replace("${loss}", content["loss"]).split("."):
                assert part in value, key
                value = value[part]


def test_every_loss_and_sampler_of_the_schema_has_its_function() -> None:
    assert set(Losses.model_fields) == set(LOSSES)
    assert set(Sampler.__args__) == set(SAMPLERS)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def write_methods() -> Any:
    spec = importlib.util.spec_from_file_location("write_methods", ROOT / "docs/write_methods.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_methods_page_agrees_with_the_schema(write_methods: Any) -> None:
    assert (ROOT / "docs/methods.md").read_text(encoding="utf-8") == write_methods.text()


def test_a_bound_that_pydantic_gives_twice_is_told_once(write_methods: Any) -> None:
    assert write_methods._valid(float, [Gt(0.2), Gt(0.2), Le(1)]) == "number above 0.2, <= 1"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"loss": "focl"}, "params.yaml: loss: `focl` is not known; did you mean `focal`?; valid: ce, weighted_ce"),
        ({"losses": {"focal": {"gama": 1}}}, "params.yaml: unknown key `losses.focal.gama`; did you mean `gamma`?"),
        ({"losses": {"focl": {}}}, "params.yaml: unknown key `losses.focl`; did you mean `focal`?"),
        (
            {"losses": {"mine": {}}},
            "params.yaml: unknown key `losses.mine`; remove it, or name the file of a loss of your own",
        ),
        (
            {"schedule": {"steps": [0.9, 0.8]}},
            "params.yaml: schedule.steps: [0.9, 0.8] must ascend, each share above the one",
        ),
        (
            {"schedule": {"steps": [0.5, 1.0]}},
            "params.yaml: schedule.steps.1: `1.0` is wrong; input should be less than 1",
        ),
        ({"schedule": {"factor": 0}}, "params.yaml: schedule.factor: `0` is wrong; input should be greater than 0"),
        ({"optimizr": {}}, "params.yaml: unknown key `optimizr`; did you mean `optimizer`?"),
        ({"lr": "fast"}, "params.yaml: lr: `fast` is not known; did you mean `auto`?; valid: auto, or a number"),
        ({"lr": -1}, "params.yaml: lr: `-1` is wrong; input should be 'auto'; or input should be greater than 0"),
        ({"folds": [0, 2]}, "params.yaml: folds: must count up from 0 without gaps, as [0, 1]"),
        ({"folds": 5}, "params.yaml: folds: `5` is wrong; input should be a valid list"),
        ({"train": {"epochs": "many"}}, "params.yaml: train.epochs: `many` is wrong; input should be a valid integer"),
        (
            {"train": {"epochs": 0}},
            "params.yaml: train.epochs: `0` is wrong; input should be greater than or equal to 1",
        ),
        (
            {"axes": {"age": {"bins": [60, 30]}}},
            "params.yaml: axes.age.bins: [60, 30] must ascend, each number above the one before",
        ),
        (
            {"data": {"cache_gb": -1}},
            "params.yaml: data.cache_gb: `-1` is wrong; input should be greater than or equal to 0",
        ),
        ({"data": {"cache_gb": "much"}}, "params.yaml: data.cache_gb: `much` is wrong; input should be a valid number"),
        ({"tta": {"views": ["flip"]}}, "params.yaml: tta.views.0: `flip` is not known; did you mean `hflip`?"),
        (
            {"tta": {"views": ["identity", "rotate_90"]}},
            "params.yaml: tta.views.1: `rotate_90`: rotate_ wants a number from -45 to 45 (degrees)",
        ),
        (
            {"tta": {"views": ["shift_left_1.5"]}},
            "params.yaml: tta.views.0: `shift_left_1.5`: shift_left_ wants a whole number from 1 to 128 (px)",
        ),
        (
            {"tta": {"views": ["hflip", "hflip"]}},
            "params.yaml: tta.views.1: `hflip` stands twice and would count twice",
        ),
        ({"tta": {"views": []}}, "params.yaml: tta.views: `[]` is wrong"),
        (
            {"tta": {"views": ["shift_up_5"]}, "image": {"margin": 4}},
            "params.yaml: tta.views.0: `shift_up_5` needs image.margin: 5 or more, it is 4",
        ),
        (
            {"decision": "adjusted", "ensemble": {"vote": "rank"}},
            "params.yaml: decision: adjusted needs ensemble.vote: soft or geometric, because rank votes are no",
        ),
        ({"decision": "adjust"}, "params.yaml: decision: `adjust` is not known; did you mean `adjusted`?"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_key(value: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(value)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found; run maskcli in the project's folder"):
        load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: 0\nlr: [1\n")
    with pytest.raises(UserError, match="line 3: is not valid YAML"):
        load(tmp_path / "params.yaml")


def test_losses_on_other_scales_have_other_names() -> None:
    assert parse({}).objective == "ce"
    assert parse({"loss": "focal"}).objective == "focal (gamma 2, alpha none)"
    named = [
        {"loss": "focal", "losses": {"focal": {"gamma": 5}}, "targets": "factored"},
        {"loss": "focal", "losses": {"focal": {"gamma": 5}}, "regression": {"weight": 0.1}},
    ]
    assert [parse(one).objective for one in named] == [
        "focal (gamma 5, alpha none), factored",
        "focal (gamma 5, alpha none), age 0.1",
    ]
    unused = {"losses": {"focal": {"gamma": 5}}, "lr": 0.1}
    assert parse(unused).objective == "ce", "nothing that leaves the scale alone"
