"""Batches made where the photos lie, on a device, are those that the CPU makes of the cache."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import augment, fit, loader, predict, resident_pixels
from stages.learn.learner import Learner, start
from stages.learn.resident_pixels import Resident
from stages.params.schema import Params
from tests.conftest import small

CPU = torch.device("cpu")


def settings(margin: int, pad: int, hflip: float, pipeline: str) -> Params:
    changes: dict[str, Any] = {"hflip": hflip, "pad": pad, "pipeline": pipeline}
    return small(image={"height": 18, "width": 16, "margin": margin}, augment=changes)


def cache(params: Params, photos: int = 6) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (photos, *params.cache_size, 3), np.uint8)


@given(st.integers(0, 2), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
def test_windows_and_mirrors_are_the_same_pixels(margin: int, pad: int, hflip: float, seed: int) -> None:
    params = settings(margin, pad, hflip, "none")
    pixels, which = cache(params), np.array([0, 2, 5, 5])
    expected = augment.make(params)(pixels[which], np.random.default_rng(seed))
    found = resident_pixels.augmented(resident_pixels.brought(pixels, CPU), which, params, np.random.default_rng(seed))
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), expected)


@given(st.integers(0, 999))
def test_brightness_is_the_same_pixels(seed: int) -> None:
    params = settings(1, 0, 0.5, "light")
    pixels, which = cache(params, 40), np.arange(40)
    expected = augment.make(params)(pixels[which], np.random.default_rng(seed))
    found = resident_pixels.augmented(resident_pixels.brought(pixels, CPU), which, params, np.random.default_rng(seed))
    assert np.array_equal(found.numpy(), expected)
    assert not np.array_equal(expected, pixels[:, 1:-1, 1:-1])  # some have changed


def test_whoever_reads_it_as_a_cache_gets_the_cache() -> None:
    params = settings(1, 0, 0.5, "none")
    pixels = cache(params)
    resident = resident_pixels.brought(pixels, CPU)
    assert len(resident) == 6
    assert np.array_equal(resident[np.array([4, 1])], pixels[[4, 1]])
    batches = [np.array([3, 0]), np.array([5])]
    expected = [photos.numpy().copy() for photos in loader.centres(pixels, batches, 1)]
    for photos, other in zip(loader.centres(resident, batches, 1), expected, strict=True):
        assert np.array_equal(photos.numpy(), other)


def made(pipeline: str) -> Learner:
    params = small(train={"epochs": 2, "batch_size": 16}, augment={"pipeline": pipeline, "hflip": 0.5})
    return start(params, open_fold(params, 0), 0, 0.01, predict.accelerator(params), SILENT)


@pytest.mark.parametrize("pipeline", ["none", "light"])
def test_a_training_on_resident_photos_comes_to_the_same_bytes(project: Path, pipeline: str) -> None:
    plain, resident = made(pipeline), made(pipeline)
    assert isinstance(plain.data.pixels, np.ndarray)  # on a CPU
    resident.data = replace(resident.data, pixels=resident_pixels.brought(np.asarray(plain.data.pixels), CPU))
    expected, found = fit.fit(plain), fit.fit(resident)
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name
    assert np.array_equal(expected.selected_logits, found.selected_logits)


def test_what_albumentations_changes_is_left_to_the_cpu(project: Path) -> None:
    params = small(augment={"pipeline": "medium"})
    data = open_fold(params, 0)
    assert resident_pixels.placed(params, data, torch.device("cuda")) is data
    assert resident_pixels.placed(small(), data, CPU) is data


@pytest.mark.gpu
@pytest.mark.parametrize("pipeline", ["none", "light"])
def test_on_a_gpu_the_photos_lie_there_and_are_the_same(project: Path, pipeline: str) -> None:
    learner = made(pipeline)
    data, params = open_fold(learner.params, 0), learner.params
    assert isinstance(learner.data.pixels, Resident)
    order = loader.epoch_order(params, data, 0, 0)
    here = loader.training(params, data, order, learner.augment, loader.Place(0, 0))
    there = loader.training(params, learner.data, order, learner.augment, loader.Place(0, 0))
    for batch, other in zip(here, there, strict=True):
        assert other.photos.device.type == "cuda"
        assert torch.equal(batch.photos, other.photos.cpu())
        assert torch.equal(batch.labels, other.labels)
