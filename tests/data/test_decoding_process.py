"""Beside a GPU processes decode: the pixels and errors are those of threads, and no process outlives who began it."""

import gc
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import prepare
from stages.base import gpu, paths, programs
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data import decoding_process, pixel_cache
from stages.data.decoding_process import Decoder, Size
from stages.data.pixel_cache import OnTheFly
from tests.conftest import ROOT, small

FLY = small(data={"cache_gb": 0})
PHOTOS = 168


@pytest.fixture
def cached(project: Path) -> np.ndarray:
    """The pixels that prepare wrote, of photos that are read on the fly from here on."""
    pixels: np.ndarray = np.load(paths.PIXELS)
    prepare.run(FLY, SILENT)
    return pixels


def opened(threads: int = 2, apart: bool = True) -> OnTheFly:
    found = pixel_cache.open_cache(paths.PIXELS, PHOTOS, FLY)
    assert isinstance(found, OnTheFly)
    return OnTheFly(found.files, found.checks, FLY, apart, threads)


def started() -> Decoder:
    return decoding_process.start(Size(36, 36, 1.0, 10**7))


def test_pixels_are_those_of_the_cache_whatever_the_number_of_processes(cached: np.ndarray) -> None:
    for threads, which in ((1, [3]), (2, [*range(PHOTOS)][::-1]), (50, [167, 0, 5, 5]), (2, [])):
        found = opened(threads)[np.array(which, int)]
        assert found.shape == (len(which), 36, 36, 3)
        assert (found == cached[which]).all()


@pytest.mark.parametrize("apart", [True, False])
def test_the_first_photo_that_has_changed_is_named_by_processes_as_by_threads(cached: np.ndarray, apart: bool) -> None:
    pixels = opened(apart=apart)
    pixels.files[90].write_bytes(pixels.files[50].read_bytes())
    pixels.files[30].unlink()
    pixels.files[61].write_bytes(b"text")
    for which, first in ((np.arange(PHOTOS), 30), (np.arange(PHOTOS)[::-1], 90), (np.array([5, 61]), 61)):
        with pytest.raises(UserError, match=f"{pixels.files[first]}: gives other pixels than when prepare read it"):
            pixels[which]
    assert (pixels[np.array([0, 29, 31])] == cached[[0, 29, 31]]).all()


def test_a_process_that_is_killed_is_told_of_in_one_line(cached: np.ndarray) -> None:
    decoder = started()
    os.kill(decoder.process.pid, signal.SIGTERM)
    with pytest.raises(
        UserError, match=r"^a process that decodes photos has ended \(code -?\d+: killed, .*\); run again$"
    ):
        decoder([], [], np.empty((0, 36, 36, 3), np.uint8))


def test_a_process_ends_with_who_began_it(cached: np.ndarray) -> None:
    decoder = started()
    process = decoder.process
    del decoder
    gc.collect()
    assert process.poll() is not None
    code = (
        "import os, signal; from stages.data import decoding_process as one; "
        "made = one.start(one.Size(8, 8, 1.0, 99)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([*programs.PYTHON, "-c", code], stderr=subprocess.PIPE, env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL  # and stderr, which the process had too, has come to its end


def test_a_process_imports_nothing_large() -> None:
    code = (
        "import sys, stages.data.decoding_process; print({'torch', 'pandas', 'pydantic', 'sklearn'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([*programs.PYTHON, "-c", code], text=True, env=environment) == "set()\n"


def test_where_no_process_is_to_be_had_threads_decode(cached: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(size: Size) -> Decoder:
        raise BlockingIOError

    monkeypatch.setattr(decoding_process, "start", refused)
    assert (opened()[np.arange(9)] == cached[:9]).all()


def test_a_copy_whose_threads_are_to_decode_has_no_process(cached: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """bench/gpu.py compares the two on the same photos."""
    pixels, asked = opened(), list[int]()
    pixels[np.arange(9)]
    monkeypatch.setattr(Decoder, "__call__", lambda self, files, checks, out: asked.extend(checks) or [])
    assert (replace(pixels, apart=False)[np.arange(9)] == cached[:9]).all()
    assert not asked
    pixels[np.arange(9)]
    assert asked


def test_where_memory_files_have_no_room_the_folder_of_temporaries_has(
    cached: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoding_process, "SHARED", tmp_path / "none")
    assert (opened()[np.arange(9)] == cached[:9]).all()


def test_processes_decode_beside_a_gpu_and_in_no_process_without_torch(
    cached: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def apart() -> bool:
        found = pixel_cache.open_cache(paths.PIXELS, PHOTOS, FLY)
        assert isinstance(found, OnTheFly)
        return found.apart

    assert torch.__name__ in sys.modules
    monkeypatch.setattr(gpu, "usable", lambda: False)
    assert not apart()
    monkeypatch.setattr(gpu, "usable", lambda: True)
    assert apart()
    monkeypatch.delitem(sys.modules, "torch")
    assert not apart()
