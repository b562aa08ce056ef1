"""Models and losses of one's own: imported where params.yaml names them, and nowhere else."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import lr_find, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.data import task_and_classes as tasks
from stages.learn import learner, losses, model, objective, own_losses, plugins, run_key
from stages.learn.heads_on_features import batched_loss
from stages.learn.timm_import import load_timm
from stages.learn.training_terms import Terms
from stages.parallel import side_by_side, training_process
from stages.parallel.side_by_side import Plan
from stages.params.model_and_training import Plugins
from stages.params.schema import Params
from stages.records import lr_json, run_record
from tests.conftest import small
from tests.learn import plugged


@pytest.fixture(autouse=True)
def _forgotten() -> object:
    """What a test imported must not be found by the next one."""
    yield
    plugins.load(plugins.NO_PLUGINS)


def test_a_model_is_built_as_timms_are_and_its_weights_say_which_file_they_come_from(project: Path) -> None:
    params = plugged.place(model={"options": {"width": 4}})
    learner.check(params)
    shape = model.architecture(params, tasks.read(params))
    net = model.build(shape)
    assert load_timm().is_model("tiny")
    assert net(torch.zeros(2, 3, 32, 32))[0].shape == (2, 18)
    assert net.backbone.num_features == 16
    model.save(Path("mine.safetensors"), shape, net.state_dict())
    told = run_record.described_in(Path("mine.safetensors"))["plugin"]
    assert told["file"] == "nets.py"
    assert model.load(Path("mine.safetensors"), params.plugins).architecture == shape


def test_weights_load_only_where_their_file_is_named_and_is_as_it_was(project: Path) -> None:
    params = plugged.place()
    shape = model.architecture(params, tasks.read(params))
    model.save(Path("mine.safetensors"), shape, model.build(shape).state_dict())
    with pytest.raises(
        UserError, match=r"mine.safetensors: its model comes from a Python file that is not named here, nets.py"
    ):
        model.load(Path("mine.safetensors"))
    assert not load_timm().is_model("tiny")  # what params name no more is forgotten
    Path("nets.py").write_text(f"{plugged.NETS}# more\n")
    with pytest.raises(UserError, match=r"comes from nets.py as it was then .* and the file is another now"):
        model.load(Path("mine.safetensors"), params.plugins)


def test_a_changed_file_is_imported_again_and_no_other(project: Path) -> None:
    params = plugged.place()
    nets, mine = plugins.load(params.plugins)
    Path("mine.py").write_text(plugged.MINE.replace("miss**power", "0 * miss"))
    again, other = plugins.load(params.plugins)
    assert again is nets
    assert other is not mine
    logits, labels = torch.randn(4, 18), torch.arange(4)
    found = [losses.make(one.losses["squared"], [1] * 18)(logits, labels) for one in (mine, other)]
    assert found[0] > 0 == found[1]


def test_a_training_goes_on_with_the_code_that_it_began_with(project: Path) -> None:
    params = plugged.place()
    own_losses.check(params)
    before = own_losses.chosen(params)[0]
    Path("mine.py").write_text("nonsense(")
    assert own_losses.chosen(params)[0] is before


def test_of_a_file_that_fails_nothing_is_left_behind(project: Path) -> None:
    params = plugged.place()
    timm = load_timm()
    known, cfgs = timm.list_models(), timm.list_pretrained()
    Path("nets.py").write_text(plugged.NETS.replace("def tiny(", "def resnet18("))
    with pytest.raises(UserError, match="timm has a model `resnet18` already"):
        plugins.load(params.plugins)
    assert (timm.list_models(), timm.list_pretrained()) == (known, cfgs)
    assert type(timm.create_model("resnet18")).__name__ == "ResNet"
    assert not [name for name in sys.modules if name.startswith(plugins.PREFIX)]


def test_a_folder_stands_for_its_files_and_one_file_may_have_both(project: Path) -> None:
    plugged.place()
    Path("own").mkdir()
    Path("own/a.py").write_text(plugged.NETS)
    Path("own/b.py").write_text(plugged.NETS.replace("def tiny(", "def tinier("))
    found = plugins.load(Plugins(models="own"))
    assert [(one.file, list(one.models)) for one in found] == [("own/a.py", ["tiny"]), ("own/b.py", ["tinier"])]
    Path("both.py").write_text(plugged.NETS + plugged.MINE)
    (one,) = plugins.load(Plugins(models="both.py", losses="both.py"))
    assert (list(one.models), list(one.losses)) == (["tiny"], ["squared"])
    assert sorted(Path().rglob("__pycache__")) == []  # in a folder that DVC watches it would be a change


def test_options_come_from_the_signature(project: Path) -> None:
    params = plugged.place(losses={"squared": {"power": 3}})
    function, options = own_losses.chosen(params)
    assert options == {"power": 3.0, "balanced": False}
    logits, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    loss = losses.make(function, [4, 3, 2, 1], **options)
    miss = 1 - logits.softmax(1)[torch.arange(5), labels]
    assert loss(logits, labels) == pytest.approx(float((miss**3).mean()))
    assert own_losses.in_words(plugins.loaded()[1], "squared") == "squared (power 2.0, balanced False)"


def test_a_loss_that_asks_for_progress_is_told_it(project: Path) -> None:
    plugged.place()
    text = plugged.MINE.replace("balanced: bool = False", "progress: float = 0.0").replace("if balanced", "if progress")
    Path("mine.py").write_text(text.replace("return ((weights", "return progress + ((weights"))
    params = small(**plugged.CHOSEN)
    task, counts = tasks.read(params), np.ones(18)
    raw, labels = torch.zeros(2, 18), torch.tensor([0, 1])
    first, last = (
        objective.make(params, task, counts, share)(raw, labels, None, labels)[objective.CLASS] for share in (0.0, 0.5)
    )
    assert last - first == pytest.approx(0.5)


def test_many_heads_learn_by_it_at_once(project: Path) -> None:
    params = plugged.place(targets="factored")
    task, counts = tasks.read(params), torch.arange(1, 19, dtype=torch.float64)
    raw, labels = torch.randn(3, 5, 8), torch.randint(18, (3, 5))
    found = batched_loss(params, task, counts.expand(3, -1))(raw, labels)
    one = objective.make(params, task, counts.numpy())
    wanted = [one(raw[head], labels[head], None, labels[head])[objective.CLASS] for head in range(3)]
    assert found.tolist() == pytest.approx([float(value) for value in wanted])


def test_a_loss_that_looks_at_values_says_that_heads_cannot_have_it(project: Path) -> None:
    plugged.place()
    looks = "    if miss.sum() > 99:\n            raise KeyError\n        return (("
    Path("mine.py").write_text(plugged.MINE.replace("    return ((", looks))
    params = small(**plugged.CHOSEN)
    goal = batched_loss(params, tasks.read(params), torch.ones(2, 18, dtype=torch.float64))
    with pytest.raises(UserError, match=r"mine.py line 12: loss `squared` works not for many heads at once"):
        goal(torch.randn(2, 5, 18), torch.zeros(2, 5, dtype=torch.int64))


def test_the_run_key_and_the_record_follow_the_files_that_are_used(project: Path) -> None:
    params = plugged.place()
    first = run_key.record(params, 0.003)
    assert first.params["plugins"] == {"models": "nets.py", "losses": "mine.py"}
    Path("mine.py").write_text(f"{plugged.MINE}# more\n")
    second = run_key.record(params, 0.003)
    assert first.run != second.run
    assert run_record.in_words(run_record.differing(first, second), "now") == "other code in plugins.losses"
    ce = params.model_copy(update={"loss": "ce"})
    assert (
        run_key.record(ce, 0.003).run
        == run_key.record(ce.model_copy(update={"plugins": Plugins(models="nets.py")}), 0.003).run
    )
    other = plugged.place(losses={"squared": {"power": 2.5}})
    told = run_record.differing(second, run_record.made(other, 0.003, {}))
    assert told["losses.squared.power"] == (3, 2.5)
    assert run_record.as_run(small(), first).loss == "squared"


def test_the_learning_rate_is_measured_anew_for_another_model_and_not_for_another_loss(project: Path) -> None:
    params = plugged.place(lr="auto")
    before = lr_json.measured_with(params)
    Path("mine.py").write_text(f"{plugged.MINE}# more\n")
    assert lr_json.measured_with(params) == before
    Path("nets.py").write_text(f"{plugged.NETS}# more\n")
    assert lr_json.measured_with(params) != before


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.slow
def test_folds_train_with_it_in_processes_of_their_own(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    params = plugged.place(parallel={"threads": 1})
    if method == "spawn":
        monkeypatch.setattr(training_process.sockets, "placed", lambda: False)
    lr_find.run(params, SILENT)
    side_by_side.run(params, SILENT, Plan([0, 1], 2, {0: 1, 1: 1}))
    told = [run_record.described_in(paths.weights(fold))["plugin"]["file"] for fold in (0, 1)]
    assert told == ["nets.py", "nets.py"]
    assert "code" in paths.history(0).read_text()


def test_a_fold_trains_with_it_and_its_history_names_the_code(project: Path) -> None:
    params = plugged.place(train={"epochs": 1})
    said: list[str] = []
    train.run(params, Talk(said.append), 0, Terms())
    code = run_record.of_fold(0).data["losses"]
    assert f'"squared (power 3), code {code}"' in paths.history(0).read_text()
    assert model.load(paths.weights(0), params.plugins).architecture.name == "tiny"


def test_what_it_registers_is_suggested_for_a_slip(project: Path) -> None:
    params: Params = plugged.place(model={"name": "tinny"})
    with pytest.raises(UserError, match=r"timm has no model `tinny`; did you mean .*`tiny`"):
        learner.check(params)
