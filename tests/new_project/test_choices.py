"""What a new project begins with, by its photos and the device."""

import numpy as np
import pytest

from stages.base.errors import UserError
from stages.new_project import choices
from stages.new_project.choices import Choices, Seen, choose, image_size
from stages.new_project.machine import Device
from stages.params.load import parse

CPU = Device("CPU", False, 8 * 10**9, 2)
GPU = Device("a GPU", True, 24 * 10**9, 8, half=True)
NAMES = ("cat", "dog", "horse")


def seen(photos: int = 1000, sizes: list[tuple[int, int]] | None = None, names: tuple[str, ...] = NAMES) -> Seen:
    return Seen(photos, photos, names, np.array(sizes or [(480, 640)]))


def chosen(found: Seen, device: Device = CPU, model: str | None = None, has: bool = True) -> Choices:
    return choose(found, device, model, lambda repository: has)


def test_all_that_can_be_chosen_is_valid() -> None:
    for device in (CPU, GPU):
        for photos in (2, 30, 1_797, 50_000, 1_000_000):
            for sizes in ([(8, 8)], [(4000, 300)], [(480, 640)]):
                parse(chosen(seen(photos, sizes), device).values)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(480, 640)], (96, 128)),
        ([(512, 384)], (128, 96)),
        ([(8, 8)], (32, 32)),
        ([(60, 40)], (64, 48)),
        ([(400, 100)], (128, 64)),  # no narrower than half
        ([(480, 640), (640, 480)], (128, 128)),
    ],
)
def test_photos_keep_their_proportions_and_are_not_blown_up(
    sizes: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert image_size(seen(sizes=sizes * 10), CPU)[:2] == expected


def test_a_gpu_gets_larger_photos_larger_batches_and_half_precision() -> None:
    small, large = chosen(seen(20_000)), chosen(seen(20_000), GPU)
    assert small.values["image"]["width"] == 96
    assert large.values["image"]["width"] == 224
    assert (small.values["train"]["batch_size"], large.values["train"]["batch_size"]) == (32, 64)
    assert (small.values["train"]["mixed_precision"], large.values["train"]["mixed_precision"]) == ("none", "bf16")
    assert chosen(seen(), Device("old", True, 10**10, 4)).values["train"]["mixed_precision"] == "none"


def test_few_photos_get_many_epochs_of_small_batches() -> None:
    few, many = chosen(seen(100)).values["train"], chosen(seen(100_000)).values["train"]
    assert few["epochs"] > many["epochs"]
    assert few["batch_size"] == 8  # 80 of them train: eight steps or more would need smaller ones
    assert many["batch_size"] == 32


def test_a_size_that_few_photos_have_is_not_said_to_be_that_of_most() -> None:
    """The median of each side by itself is the size of no photo here."""
    mixed = image_size(seen(sizes=[(20, 20), (30, 40), (64, 30), (20, 200)] * 10), CPU)[2]
    assert mixed.startswith("photos are, by the median of each side, 35x25 px (width x height)")
    assert image_size(seen(sizes=[(48, 40)] * 6 + [(10, 10)] * 4), CPU)[2].startswith("most photos are 40x48 px")


def test_there_are_no_more_folds_than_groups() -> None:
    assert chosen(Seen(100, 3, NAMES, np.array([(64, 64)]))).values["folds"] == [0, 1, 2]


def test_published_weights_are_taken_where_they_can_be_had() -> None:
    assert chosen(seen()).values["model"]["pretrained"]
    without = chosen(seen(), has=False)
    assert without.values["model"] == {"name": "test_resnet", "pretrained": False}
    assert "cannot be had" in without.reasons["model"]
    assert not choose(seen(), CPU, None, None).values["model"]["pretrained"]
    assert chosen(seen(), model="resnet18").values["model"]["name"] == "resnet18"


def test_a_model_that_timm_does_not_have_is_told_whatever_it_begins_with() -> None:
    for can_have in (None, lambda repository: True):
        with pytest.raises(UserError, match="timm has no model `resnet18x`; did you mean `resnet18`"):
            choose(seen(), CPU, "resnet18x", can_have)


@pytest.mark.parametrize("names", [("left eye", "right eye"), ("ear_Left", "x"), tuple("0123456789")])
def test_photos_are_not_mirrored_where_the_classes_speak_against_it(names: tuple[str, ...]) -> None:
    values = chosen(seen(names=names)).values
    assert values["augment"] == {"hflip": 0.0}
    assert values["tta"] == {"views": ["identity"]}


def test_other_photos_are_mirrored() -> None:
    assert choices.no_flip(("cleft lip", "bright", "cat")) == ""
    assert "augment" not in chosen(seen()).values
