import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import sobel
from scipy.stats import spearmanr

from stages.base.errors import UserError
from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.learn import grad_cam, model, predict
from stages.learn.model import Classifier
from stages.params.schema import Params
from tests.conftest import small
from tests.learn.test_merged_batch_norm import trained

SIDE, SQUARE = 48, 12  # px
COLOURS = Task("folder", (Axis("label", ("red", "blue")),), "photo")
Maps = Callable[[Classifier, np.ndarray, np.ndarray], np.ndarray]


def coloured(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey noise with a red or blue square and three green ones: photos with a margin of 2 px, classes, and where the square
    lies that tells the class.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 166, (count, SIDE + 4, SIDE + 4, 3)).astype(np.uint8)
    classes, inside = np.arange(count) % 2, np.zeros((count, SIDE, SIDE), bool)
    for photo, own in enumerate(classes):
        cells = rng.permutation((SIDE // SQUARE) ** 2)[:4]
        for cell, channel in zip(cells, (2 * own, 1, 1, 1), strict=True):
            top, left = (SQUARE * place for place in divmod(cell, SIDE // SQUARE))
            pixels[photo, top + 2 : top + 2 + SQUARE, left + 2 : left + 2 + SQUARE] = np.eye(3)[channel] * 200
            inside[photo, top : top + SQUARE, left : left + SQUARE] |= channel != 1
    return pixels, classes, inside


def params() -> Params:
    return small(image={"height": SIDE, "width": SIDE}, model={"options": {"output_stride": 8}})


@cache
def taught() -> Classifier:
    """A model that has learnt to tell the colours."""
    pixels, classes, _ = coloured(64, 0)
    torch.manual_seed(0)
    net = model.build(model.architecture(params(), COLOURS)).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    mean, std = model.normalisation(net)
    seen = predict.normalise(torch.from_numpy(pixels[:, 2:-2, 2:-2]), mean, std)
    for step in range(24):
        some = slice(16 * (step % 4), 16 * (step % 4) + 16)
        optimizer.zero_grad()
        F.cross_entropy(net(seen[some])[0], torch.from_numpy(classes[some])).backward()
        optimizer.step()
    return net.eval()


def by_grad_cam(net: Classifier, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return grad_cam.explain(net, pixels, classes, params())


def by_edges(net: Classifier, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What looks like an explanation, and is none: it does not look at the model."""
    grey = pixels[:, 2:-2, 2:-2].mean(3)
    return np.hypot(sobel(grey, 1), sobel(grey, 2))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over photos of the rank correlation between two maps; a map without any difference agrees with none."""
    pairs = zip(one.reshape(len(one), -1), other.reshape(len(other), -1), strict=True)
    return float(np.mean([spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else 0.0 for a, b in pairs]))


def randomised(net: Classifier, seed: int) -> Classifier:
    """The same model with weights that have learnt nothing."""
    torch.manual_seed(seed)
    return model.build(net.architecture).eval()


def follows_the_model(maps: Maps) -> bool:
    """Adebayo et al. 2018, section 3: does the map change where the model's weights are drawn at random?"""
    net, (pixels, classes, _) = taught(), coloured(12, 1)
    own = maps(net, pixels, classes)
    assert rank_correlation(own, maps(net, pixels, classes)) > 0.999, "twice the same model"
    others = [rank_correlation(own, maps(randomised(net, seed), pixels, classes)) for seed in range(1, 5)]
    return abs(float(np.mean(others))) < 0.5


def test_maps_of_a_model_with_random_weights_are_others() -> None:
    assert follows_the_model(by_grad_cam)


def test_that_check_sees_through_a_map_that_ignores_the_model() -> None:
    assert not follows_the_model(by_edges)


def test_the_map_shows_what_the_class_is_told_by() -> None:
    net, (pixels, classes, inside) = taught(), coloured(12, 1)
    heat = by_grad_cam(net, pixels, classes)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max((1, 2)) == pytest.approx(1)
    for own, square in zip(heat, inside, strict=True):
        assert own[square].mean() > 2 * own[~square].mean()


def by_definition(net: Classifier, photos: np.ndarray, score: Callable[[Any], Any]) -> np.ndarray:
    """Eq. 1 and 2, each channel's gradient by a small step of that channel alone at every place."""
    mean, std = model.normalisation(net)
    features = net.backbone.forward_features(predict.normalise(torch.from_numpy(photos), mean, std)).double()
    after = copy.deepcopy(net).double()

    def of(changed: torch.Tensor) -> torch.Tensor:
        return score(after.head(after.body(after.backbone.forward_head(changed))))

    heat = torch.zeros(features.shape[0], *features.shape[2:], dtype=torch.float64)
    step = 1e-6
    for channel in range(features.shape[1]):
        moved = torch.zeros_like(features)
        moved[:, channel] = step
        weight = (of(features + moved) - of(features - moved)) / (2 * step * features[0, 0].numel())
        heat += weight[:, None, None] * features[:, channel]
    heat = F.interpolate(heat.relu()[:, None], photos.shape[1:3], mode="bilinear")[:, 0]
    return (heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-30)).numpy()


# Class 13 is none of mask, male, 30..59; the score of its age is over the classes of that age.
SCORES: dict[tuple[str, int | None], Callable[[Any], Any]] = {
    ("joint", None): lambda raw: raw[:, 13],
    ("joint", 2): lambda raw: raw[:, 1::3].logsumexp(1),
    ("factored", None): lambda raw: raw[:, 2] + raw[:, 3] + raw[:, 6],
    ("factored", 2): lambda raw: raw[:, 6],
}


@torch.no_grad()
@pytest.mark.parametrize(("targets", "axis"), SCORES)
def test_a_map_is_that_of_the_paper_for_a_class_and_for_one_of_its_levels(targets: str, axis: int | None) -> None:
    # The largest value of a channel alone reaches the answer: gradients differ from place to place, whose mean is taken.
    changes: dict[str, Any] = {"image": {"height": 96, "width": 64}, "model": {"options": {"global_pool": "max"}}}
    net = trained(targets=targets, **changes)
    photos = np.random.default_rng(0).integers(0, 256, (3, 100, 68, 3), np.uint8)
    found = grad_cam.explain(net, photos, np.full(3, 13), small(targets=targets, **changes), axis)
    assert found.shape == (3, 96, 64)
    assert found == pytest.approx(by_definition(net, photos[:, 2:-2, 2:-2], SCORES[targets, axis]), abs=1e-3)
    assert all(parameter.requires_grad for parameter in net.parameters()), "the model is left as it was"


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("test_resnet", (3, 2)),
        ("test_mambaout", (3, 2)),  # channels last
        ("test_vit", (6, 4)),
        ("test_vit3", (6, 4)),  # pools by attention
    ],
)
def test_convolutions_and_vits_have_a_map(name: str, places: tuple[int, int]) -> None:
    options = {"img_size": [96, 64]} if "vit" in name else {}
    changes: dict[str, Any] = {"model": {"name": name, "options": options}, "image": {"height": 96, "width": 64}}
    net = trained(**changes)
    assert grad_cam.places(net) == places
    photos = np.random.default_rng(0).integers(0, 256, (2, 100, 68, 3), np.uint8)
    one, other = (grad_cam.explain(net, photos, np.full(2, number), small(**changes)) for number in (0, 13))
    assert one.shape == (2, 96, 64)
    assert np.ptp(one) > 0
    assert not np.allclose(one, other), "another class is told by other places"


def test_a_model_without_places_says_so() -> None:
    changes: dict[str, Any] = {"model": {"name": "mixer_s32_224"}, "image": {"height": 224, "width": 224}}
    net = model.build(model.architecture(small(**changes), CONTEST)).eval()
    with pytest.raises(UserError) as found:
        grad_cam.explain(net, np.zeros((1, 228, 228, 3), np.uint8), np.zeros(1, int), small(**changes))
    assert str(found.value) == (
        "mixer_s32_224: has no feature map of places in the photo, so that there is nothing to draw; models with "
        "convolutions to the end, and ViTs, have one"
    )
