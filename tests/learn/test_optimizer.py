"""Every name that timm's factory offers trains and goes on from a checkpoint bit by bit, or is refused at the start."""

import io
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from stages import lr_find
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import CONTEST
from stages.learn import fit, model, optimizer
from stages.learn.learner import start
from stages.learn.timm_import import load_timm
from stages.params.model_and_training import Optimizer
from tests.conftest import small

load_timm()

from timm import create_model  # noqa: E402
from timm.optim import list_optimizers, param_groups_layer_decay  # noqa: E402

NAMES = list_optimizers()
# Those of bitsandbytes and apex, which are no dependencies, and one that needs second derivatives.
REFUSED = [name for name in NAMES if name.startswith(("bnb", "fused"))] + ["adahessian", "lookahead_adahessian"]
TRAINED = [name for name in NAMES if name not in REFUSED] + [
    f"lookahead_{name}" for name in ("adamw", "sgd", "muon", "kron")
]
STEPS = 8  # lookahead's slow weights move at the sixth


class Net(nn.Module):
    """Parameters of 4, 2 and 1 dimensions, as optimizers tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten())
        self.body, self.head, self.regression = nn.Identity(), nn.Linear(16, 5), None

    def head_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.body, self.head])

    def steps(self, made: torch.optim.Optimizer, name: str, first: int, last: int) -> None:
        for number in range(first, last):
            torch.manual_seed(number)
            made.zero_grad()
            loss = nn.functional.cross_entropy(self.head(self.backbone(torch.randn(6, 3, 4, 4))), torch.arange(6) % 5)
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimizer.set_lr(made, 0.003)
            with optimizer.stepping(Optimizer(name=name)):
                made.step()


def begun(name: str) -> tuple[Net, Any]:
    net = Net()
    made = optimizer.make(net, Optimizer(name=name, layer_decay=0.8), 0.003)  # type: ignore[arg-type]
    return net, Accelerator().prepare(made)


@pytest.mark.parametrize("name", TRAINED)
def test_every_optimizer_trains_and_goes_on_from_a_checkpoint_bit_by_bit(name: str) -> None:
    whole, made = begun(name)
    before = {key: value.clone() for key, value in whole.named_parameters()}
    whole.steps(made, name, 0, 2)
    file = io.BytesIO()
    torch.save({"net": whole.state_dict(), "optimizer": made.state_dict()}, file)
    whole.steps(made, name, 2, STEPS)
    for key, value in whole.named_parameters():
        assert torch.isfinite(value).all(), key
        assert not torch.equal(value, before[key]), key

    file.seek(0)
    known = torch.load(file, weights_only=True)
    resumed, again = begun(name)
    resumed.load_state_dict(known["net"])
    again.load_state_dict(known["optimizer"])
    resumed.steps(again, name, 2, STEPS)
    for key, value in whole.named_parameters():
        assert torch.equal(value, resumed.get_parameter(key)), key


@pytest.mark.skipif(torch.cuda.is_available(), reason="beside a GPU these may be there")
@pytest.mark.parametrize("name", REFUSED)
def test_those_that_cannot_train_here_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"^params.yaml: optimizer.name: `{name}` (does not run here|needs second)"
    ) as told:
        optimizer.check_name(name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("adamww", "`adamw`"), ("lookahead_adamww", "`lookahead_adamw`"), ("qqq", "see timm")]
)
def test_an_unknown_name_is_told_with_its_like(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=rf"timm has no optimizer `{name}`; .*{hint}"):
        optimizer.check_name(name)


def test_weight_decay_that_counts_from_the_peak_leaves_the_range_test_its_curve(project: object) -> None:
    """adamc's decay is lr^2 / peak: a peak of the test's first, smallest learning rate would blow the weights up."""
    lowest = []
    for name in ("adamw", "adamc"):
        lr_find.run(small(optimizer={"name": name, "weight_decay": 0.5}, lr_find={"steps": 60}), SILENT)
        lowest.append(paths.LR_CURVE.read_text().count("\n"))
    assert lowest[1] >= lowest[0] - 3


def test_plateau_lowers_the_learning_rate_of_the_optimizer_under_lookahead(project: object) -> None:
    params = small(
        optimizer={"name": "lookahead_sgd"},
        schedule={"name": "plateau", "plateau_patience": 0, "warmup_epochs": 0.0},
        train={"epochs": 3},
    )
    learner = start(params, open_fold(params, 0), 0, 1e-9, Accelerator(), SILENT)
    history = fit.fit(learner).history  # too small a step to get better
    assert [row["lr"] for row in history] == pytest.approx([1e-9, 1e-9, 5e-10])
    assert {group["lr"] for group in learner.optimizer._base_optimizer.param_groups} == {history[-1]["lr"]}  # type: ignore[attr-defined]


VIT = {"name": "vit_tiny_patch16_224", "options": {"img_size": [32, 32]}}


def groups_of(net: Any, **options: Any) -> dict[str, dict[str, Any]]:
    """The parameter group of each of a model's arrays, by name."""
    made = optimizer.make(net, Optimizer(name="adamw", **options), 0.01)
    by_id = {id(one): group for group in made.param_groups for one in group["params"]}
    assert len(by_id) == sum(len(group["params"]) for group in made.param_groups)
    return {name: by_id[id(parameter)] for name, parameter in net.named_parameters()}


def built(**changes: Any) -> model.Classifier:
    return model.build(model.architecture(small(**changes), CONTEST))


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
@pytest.mark.parametrize("named", [VIT, {"name": "test_resnet"}], ids=["vit", "resnet"])
def test_biases_norms_and_what_the_backbone_names_have_no_weight_decay(
    named: dict[str, Any], layer_decay: float
) -> None:
    net = built(model={**named, "head": "mlp"}, regression={"weight": 0.1})
    spared = {f"backbone.{name}" for name in getattr(net.backbone, "no_weight_decay", set)()}
    found = groups_of(net, layer_decay=layer_decay, weight_decay=0.05)
    without = {name for name, group in found.items() if not group["weight_decay"]}
    assert without == {name for name, one in net.named_parameters() if one.ndim <= 1} | (spared & set(found))
    assert ("backbone.pos_embed" in without, "backbone.cls_token" in without) == (named is VIT,) * 2
    assert {"body.1.weight", "head.weight", "regression.weight"}.isdisjoint(without)
    assert {group["weight_decay"] for group in found.values()} == {0.0, 0.05}


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_decay_all_gives_every_array_the_weight_decay(layer_decay: float) -> None:
    net = built(model={"name": "test_resnet"})
    found = groups_of(net, layer_decay=layer_decay, weight_decay=2e-4, decay_all=True)
    assert set(found) == {name for name, _ in net.named_parameters()}
    assert {group["weight_decay"] for group in found.values()} == {2e-4}


@pytest.mark.parametrize(("name", "nesterov"), [("sgd", True), ("momentum", False)])
def test_sgd_has_momentum_by_nesterov_or_the_classical_one(name: str, nesterov: bool) -> None:
    _, made = begun(name)
    assert all((group["momentum"], group["nesterov"]) == (0.9, nesterov) for group in made.param_groups)


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize(
    "named",
    [VIT, *({"name": name} for name in ("test_resnet", "test_efficientnet", "mobilenetv3_small_050", "test_convnext"))],
    ids=lambda named: named["name"],
)
def test_layers_have_timms_numbers_and_the_head_is_the_top_one(named: dict[str, Any], head: str) -> None:
    """As timm groups its whole model, whose classifier stands where the head stands here."""
    net = built(model={**named, "head": head})
    whole = create_model(named["name"], num_classes=CONTEST.classes, **named.get("options", {}))
    grouped = param_groups_layer_decay(whole, layer_decay=0.5)
    expected = {id(parameter): group["lr_scale"] for group in grouped for parameter in group["params"]}
    scales = {name: expected[id(parameter)] for name, parameter in whole.named_parameters()}
    classifier = whole.pretrained_cfg["classifier"]
    assert scales[f"{classifier}.weight"] == 1
    found = {name: group["lr_scale"] for name, group in groups_of(net, layer_decay=0.5).items()}
    own = {name.removeprefix("backbone."): scale for name, scale in found.items() if name.startswith("backbone.")}
    assert own == {name: scale for name, scale in scales.items() if not name.startswith(f"{classifier}.")}
    assert {scale for name, scale in found.items() if not name.startswith("backbone.")} == {1.0}
    assert min(own.values()) < 0.5


def test_a_backbone_that_numbers_no_layers_has_them_by_the_order_of_its_arrays() -> None:
    net = Net()
    net.backbone = nn.Sequential(*(nn.Linear(2, 2) for _ in range(15)))
    found = [group["lr_scale"] for group in groups_of(net, layer_decay=0.5).values()]
    assert found == [0.125] * 12 + [0.25] * 12 + [0.5] * 6 + [1.0] * 2


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_every_group_is_of_the_backbone_or_of_the_head_and_the_backbones_rate_has_a_share_of_its_own(
    layer_decay: float,
) -> None:
    net = built(model={"name": "mobilenetv3_small_050"})  # of which timm counts conv_head to the classifier's layer
    made = optimizer.make(net, Optimizer(layer_decay=layer_decay), 0.01)
    whose = {id(one): group["backbone"] for group in made.param_groups for one in group["params"]}
    assert {name: whose[id(one)] for name, one in net.named_parameters()} == {
        name: name.startswith("backbone.") for name, _ in net.named_parameters()
    }
    for share in (1.0, 0.25, 0.0):
        optimizer.set_lr(made, 0.4, share)
        for group in made.param_groups:
            scale = group.get("lr_scale", 1.0)
            assert group["lr"] == 0.4 * scale * (share if group["backbone"] else 1.0)
