from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stages.base.talk import Talk
from stages.data.task_and_classes import CONTEST
from stages.learn import merged_batch_norm, model
from tests.conftest import small


def trained(seed: int = 0, **changes: object) -> model.Classifier:
    """A model whose batch norms have statistics and weights as training leaves them, none of them 0 or 1."""
    torch.manual_seed(seed)
    return with_statistics(model.build(model.architecture(small(**changes), CONTEST)), seed)


def with_statistics(net: model.Classifier, seed: int) -> model.Classifier:
    """The model in eval mode, its batch norms filled by draws."""
    torch.manual_seed(seed)
    for module in net.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return net


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def outputs(net: model.Classifier) -> Tensor:
    torch.manual_seed(1)
    with torch.inference_mode():
        return net(torch.randn(5, 3, 32, 32))[0]


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_efficientnet", "mobilenetv3_small_050"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnet_b0", "mobilenetv2_100", "resnet18")],
)
def test_every_batch_norm_is_merged_and_outputs_stay(name: str) -> None:
    net = trained(model={"name": name})
    before = outputs(net)
    made = merged_batch_norm.merged(net, Talk(pytest.fail))
    assert norms(net) > 0
    assert norms(made) == 0
    assert outputs(made).numpy() == pytest.approx(before.numpy(), rel=1e-4, abs=1e-4 * float(before.abs().max()))
    assert torch.equal(outputs(net), before)  # the model itself is left alone


def test_a_model_without_batch_norm_comes_back_itself() -> None:
    net = trained(model={"name": "test_vit", "options": {"img_size": [32, 32]}})
    assert norms(net) == 0
    assert merged_batch_norm.merged(net) is net


class Backbone(nn.Module):
    """A convolution, a batch norm, and what lies between or beside them."""

    def __init__(self, forward: Callable[[nn.Module, nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.way = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), forward

    def forward(self, photos: Tensor) -> Tensor:
        return self.way(self.conv, self.norm, photos).mean((2, 3))


def around(forward: Callable[[nn.Module, nn.Module, Tensor], Tensor]) -> model.Classifier:
    net = model.Classifier(model.architecture(small(), CONTEST), Backbone(forward), 4).eval()
    nn.init.uniform_(net.backbone.norm.running_var, 2, 3)
    nn.init.uniform_(net.backbone.norm.running_mean, 0.2, 0.3)
    return net


@pytest.mark.parametrize(
    "forward",
    [
        lambda conv, norm, photos: norm(conv(photos) * 2),  # not its very output
        lambda conv, norm, photos: norm(conv(photos).relu_()),  # its output, changed in place
        lambda conv, norm, photos: norm(conv(photos)) + norm(conv(photos.flip(3))),  # each called twice
        lambda conv, norm, photos: norm(photos[:, [0, 1, 2, 2]]) + conv(photos).mean(),  # apart
    ],
)
def test_where_a_batch_norm_is_not_alone_behind_its_convolution_nothing_is_merged(
    forward: Callable[[nn.Module, nn.Module, Tensor], Tensor],
) -> None:
    net = around(forward)
    assert merged_batch_norm.merged(net, Talk(pytest.fail)) is net


def test_a_convolution_whose_output_others_take_too_is_not_merged_and_this_is_said() -> None:
    def forward(conv: nn.Module, norm: nn.Module, photos: Tensor) -> Tensor:
        made = conv(photos)
        return norm(made) + made

    net, said = around(forward), []
    assert merged_batch_norm.merged(net, Talk(said.append)) is net
    assert len(said) == 1
    assert said[0].startswith("test_resnet: predicts without merging its batch norms, which would change outputs by")
    plain = around(lambda conv, norm, photos: norm(conv(photos)))
    assert norms(merged_batch_norm.merged(plain)) == 0
