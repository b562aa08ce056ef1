"""bench/gpu.py: all of it runs on a CPU too, a part that fails or hangs leaves the others, and what is shown was measured."""

import contextlib
import importlib
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from tests import mps
from tests.conftest import ROOT, command


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of bench/ by its name."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module


def book_of(bench: Any, folder: Path, *names: str, limit: float = 60) -> Any:
    gpu: ModuleType = bench("gpu")
    book = gpu.Book(folder / "gpu.json", time.monotonic() + 60, {"gpu": "Some GPU", "cores": 2})
    for name in names:
        book.plan(name, "steps", limit, {"model": name})
    return book


def watched(bench: Any, book: Any, code: str) -> list[str]:
    """What a process that runs `code`, with `tell(part, state, **more)` at hand, leaves for the next one."""
    events = book.path.with_name("events.jsonl")
    events.touch()
    head = (
        "import json, os, sys, time\nfile = open(sys.argv[1], 'a')\n"
        "def tell(part, state, **more): print(json.dumps({'part': part, 'state': state} | more), file=file, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", head + code, str(events)], start_new_session=True)
    try:
        return bench("gpu")._watched(book, list(book.parts), process, events)
    finally:
        process.kill()
        process.wait()


def test_the_tests_come_first_each_by_its_name(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what they are to bear out, and so that time which cuts them off leaves what they have shown."""
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu, done, words = bench("gpu"), list[str](), list[str]()
    options, book = gpu._options(), book_of(bench, tmp_path)
    gpu._plan(book, options)

    def run(asked: list[str], *_: Any, **__: Any) -> dict[str, Any]:
        words.extend(asked)
        done.append("tests")
        return {"began": 0.0, "ended": 1.0, "last": "1 passed", "code": 0}

    monkeypatch.setattr(bench("gpu_end_to_end"), "run", run)
    monkeypatch.setattr(gpu, "_end_to_end", lambda book, name, *_: done.append(name))
    monkeypatch.setattr(gpu, "_learning", lambda book, names, *_: done.extend(names) or [])
    monkeypatch.setattr(gpu, "_together", lambda book, name, *_: done.append(name))
    gpu.measure(book, options, tmp_path)
    assert done[:2] == ["tests", "end to end"]
    assert sorted(done) == sorted(book.parts)
    assert "-vv" in words
    assert book.parts["tests"]["result"] == {"summary": "1 passed"}


def test_a_part_that_fails_leaves_the_others_and_all_is_written(bench: Any, tmp_path: Path) -> None:
    book = book_of(bench, tmp_path, "one", "two")
    code = (
        "tell('one', 'begun'); tell('one', 'failed', error='ValueError: no')\n"
        "tell('two', 'begun'); tell('two', 'measured', result={'a': 1}); tell('two', 'done')"
    )
    assert watched(bench, book, code) == []
    written = json.loads(book.path.read_text())
    assert written["parts"]["one"]["error"] == "ValueError: no"
    assert written["parts"]["two"]["result"] == {"a": 1}
    assert written["parts"]["two"]["done"]
    assert "one: ValueError: no" in written["notes"]


def test_a_part_that_takes_too_long_keeps_what_it_measured_and_the_next_ones_are_left(
    bench: Any, tmp_path: Path
) -> None:
    book = book_of(bench, tmp_path, "one", "two", limit=1)
    began = time.monotonic()
    code = "tell('one', 'begun'); tell('one', 'measured', result={'a': 1}); time.sleep(60)"
    assert watched(bench, book, code) == ["two"]
    assert time.monotonic() - began < 30
    assert book.parts["one"]["result"] == {"a": 1}
    assert "took more than 1 s" in book.parts["one"]["error"]


def test_a_process_that_dies_leaves_the_parts_that_it_did_not_come_to(bench: Any, tmp_path: Path) -> None:
    book = book_of(bench, tmp_path, "one", "two")
    assert watched(bench, book, "tell('one', 'begun'); os._exit(9)") == ["two"]
    assert book.parts["one"]["error"] == "its process ended with 9"


def test_a_command_that_fails_or_has_no_time_left_is_told_with_its_last_line(bench: Any, tmp_path: Path) -> None:
    end_to_end, failed = bench("gpu_end_to_end"), bench("scratch").Failed
    log = tmp_path / "log"

    def run(code: str, limit: float, **more: Any) -> dict[str, Any]:
        with log.open("w") as lines:
            return end_to_end.run([sys.executable, "-c", code], tmp_path, {}, lines, limit, **more)

    assert run("print('lr-find: 3/50, 2/s')", 30)["first_progress"] >= 0
    assert "lr-find: 3/50, 2/s" in log.read_text()
    with pytest.raises(failed, match=r"ended with 3: why"):
        run("import sys; print('why'); sys.exit(3)", 30)
    assert run("import sys; print('1 failed'); sys.exit(1)", 30, fails=True)["last"] == "1 failed"
    with pytest.raises(failed, match=r"no time left"):
        run("import time; time.sleep(60)", 0.5)


class Interrupted(io.StringIO):
    """A log that a person's Ctrl-C meets."""

    def write(self, text: str) -> int:
        if "now" in text:
            raise KeyboardInterrupt
        return len(text)


def test_where_the_run_is_interrupted_its_command_ends_and_nothing_waits_for_its_time(
    bench: Any, tmp_path: Path
) -> None:
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); print('no' + 'w', flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        bench("gpu_end_to_end").run([sys.executable, "-c", code], tmp_path, {}, Interrupted(), 60)
    waiting = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for thread in waiting:
        thread.join(1)
    assert not any(thread.is_alive() for thread in waiting)
    assert not runs(int((tmp_path / "pid").read_text()))


def runs(process: int) -> bool:
    """Whether it is there and has not ended; one that has may wait for whoever started it."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_photos_of_a_few_people_are_linked_for_many_and_each_is_counted(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_to_end = bench("gpu_end_to_end")
    monkeypatch.setattr(end_to_end, "DRAWN", 12)
    project = end_to_end.Project({"folds": [0, 1, 2], "train": {"epochs": 4}}, people=20, eval_people=6)
    params = end_to_end.make(project, tmp_path / "project")
    data = tmp_path / "project/data"
    assert len(list((data / "train/images").glob("*/*.jpg"))) == 140
    assert len({path.stat().st_ino for path in (data / "train/images").glob("*/*.jpg")}) == 84
    assert len(list((data / "eval/images").iterdir())) == 42
    found = end_to_end.counted(project, params)
    assert found == {"photos": 140, "trained": 2 * 140 * 4, "predicted": 140 * 4 + 42 * 3 * 2}


def test_bytes_of_a_step_are_five_times_the_outputs_of_layers_and_42_a_weight(bench: Any) -> None:
    layers = [nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Identity(), nn.Dropout(0.0)]
    found = bench("gpu_floor").bytes_a_step(nn.Sequential(*layers), torch.zeros(2, 3, 8, 8), 10)
    assert found == 10 * (3 * 4 * 64 * 2 * 5 + 3 * 64 * 6) + 42 * (12 + 8)


def test_seconds_of_imports_are_the_packages_own(bench: Any) -> None:
    printed = "import time: self [us] | cumulative | imported package\nimport time: 2000000 | 2000000 |   torch.nn\n"
    printed += "a warning\nimport time: 1000000 | 3000000 | torch\nimport time:  500000 | 500000 | stages.train\n"
    assert bench("gpu_end_to_end").import_seconds(printed) == {"all": 3.5, "torch": 3.0, "stages": 0.5}


def test_how_busy_the_gpu_was_and_when_first(bench: Any) -> None:
    end_to_end = bench("gpu_end_to_end")
    seen = [(10.0, 0.0), (10.5, 80.0), (11.0, 100.0)]
    assert (end_to_end.share(seen), end_to_end.first_work(seen, 9.5)) == (0.6, 1.0)
    assert (end_to_end.share([]), end_to_end.first_work([], 9.5)) == (-1.0, -1.0)


def test_the_gpu_is_looked_at_line_by_line_while_commands_run(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f"#!{sys.executable}\nimport time\nfor busy in ('[N/A]', 40, 60):\n    print(busy)\ntime.sleep(60)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    began = time.monotonic()
    with bench("gpu_end_to_end").Sampler() as sampler:
        while len(sampler.seen) < 2 and time.monotonic() < began + 30:
            time.sleep(0.05)
    assert [busy for _, busy in sampler.between(began, time.monotonic())] == [40.0, 60.0]


def test_without_nvidia_smi_nothing_is_known(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with bench("gpu_end_to_end").Sampler() as sampler:
        assert sampler.between(0, time.monotonic()) == []


SETTING = {"model": "mobilenetv2_100", "height": 160, "width": 120, "batch": 64}


def measured_parts() -> dict[str, Any]:
    rates = {"ceiling": [1000.0, 1200.0], "epoch": [900.0, 1140.0], "eager ceiling": [500.0, 500.0]}
    rates |= {"eager epoch": [480.0, 490.0], "forward": [5000.0, 5000.0]}
    floor = {
        "bandwidth_photos_a_second": 2200,
        "first_steps_seconds": 9.5,
        "captured": "yes",
        "photos_lie": "on the GPU",
    }
    commands = [{"name": "folds", "seconds": 60.0, "busy": 0.9, "first_work": 4.1, "first_progress": 12.0}]
    commands.append({"name": "tta-predict", "seconds": 20.0, "busy": 0.5, "first_work": 3.0, "first_progress": -1.0})
    floor["host_ms"] = {"captured": {"thread": 1.5, "process": 2.0}, "eager": {"thread": 9.0, "process": 20.0}}
    at_once = {"processes": {"1": 1000.0, "2": 1500.0, "4": 1600.0}, "streams": {"2": 1200.0}, "mps": {"4": 3000.0}}
    cost = {"trained": 55_000, "predicted": 25_000, "commands": commands}
    return {
        "end to end": {"kind": "end_to_end", "setting": SETTING, "commands": 2, "result": cost},
        "steps": {"kind": "steps", "setting": SETTING, "result": SETTING | floor | {"rates": rates}, "seconds": 30.0},
        "timm": {"kind": "timm", "setting": SETTING, "result": {"rates": {"timm": [800.0], "tried ceiling": [990.0]}}},
        "together": {"kind": "together", "setting": SETTING, "result": SETTING | at_once, "mps": "not measured: why"},
        "tests": {"kind": "tests", "setting": None, "result": {"summary": "8 passed in 60 s"}},
    }


def test_goals_are_ratios_of_what_was_measured(bench: Any) -> None:
    found = bench("gpu_table").goals(measured_parts())
    assert found == {
        "gpu_end_to_end_ratio": 1.455,  # 80 s over 55,000 / 1,100 + 25,000 / 5,000
        "gpu_end_to_end_busy": 0.8,
        "gpu_epoch_ratio_mobilenetv2_100_160x120": 0.925,
        "gpu_epoch_ratio_eager_mobilenetv2_100_160x120": 0.97,
        "gpu_over_timm_mobilenetv2_100_160x120": 1.375,
    }


def test_a_run_that_was_cut_off_claims_nothing_of_what_is_missing(bench: Any) -> None:
    parts = measured_parts()
    del parts["end to end"]["result"]["commands"][1]
    parts["steps"]["result"] = {}
    table = bench("gpu_table")
    assert table.goals(parts) == {}
    parts["together"]["result"] = {}
    assert [len(one["rows"]) for one in table.tables(parts)] == [1]


def test_tables_fit_80_columns_and_say_the_goal_beside_the_ratio(bench: Any) -> None:
    table, parts = bench("gpu_table"), measured_parts()
    shown = {"tables": table.tables(parts), "notes": table.notes(parts)}
    lines = bench("gpu").as_text(shown)
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if "timm's own step" in line)
    assert row.split()[-5:] == ["1,100", "800", "1.38", ">=", "1.3"]
    assert "tests: 8 passed in 60 s" in lines
    assert "together: not measured: why" in lines
    shares = {line[:44].strip(): line.split()[-1] for line in lines if line}
    assert (shares["2 processes"], shares["4 under MPS"]) == ("1.5", "3")
    assert shares["host ms a step, all threads"] == "0.0344"  # 64 photos at 1,100 a second: 58 ms


def test_several_trainings_at_once_are_the_papers_too(bench: Any, tmp_path: Path) -> None:
    setting = bench("gpu_learning").Setting("cifar_resnet8", 32, 32, 8)
    params, data = bench("gpu_together").of_the_papers(setting, tmp_path / "plugin")
    assert (params.model.name, params.train.batch_size) == ("cifar_resnet8", 8)
    assert Path(params.plugins.models).is_file()
    assert len(data.labels) == 8


def test_photos_of_the_jpeg_part_weigh_as_the_contests(bench: Any, tmp_path: Path) -> None:
    jpeg = bench("gpu_jpeg")
    assert 30_000 < jpeg.mean_bytes(jpeg.photos(tmp_path / "photos", 8)) < 60_000


@pytest.mark.parametrize("told", [mps.QUITS, "true"], ids=["quits", "does not listen"])
def test_mps_serves_within_the_block_and_is_gone_after_it_however_that_ends(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    served_by = bench("gpu_mps")
    mps.program(tmp_path, mps.STARTS, told)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(served_by, "PATIENCE", 1.0)

    def interrupted() -> None:
        with served_by.running(tmp_path / "mps") as served:
            assert set(served.environment) == {"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"}
            assert runs(int((tmp_path / "mps/pipe/control.pid").read_text()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with contextlib.suppress(psutil.Error):
        psutil.Process(int((tmp_path / "mps/pipe/control.pid").read_text())).wait(5)
    assert not runs(int((tmp_path / "mps/pipe/control.pid").read_text()))
    assert ("was killed" in capsys.readouterr().err) == (told == "true")


def test_where_mps_is_not_there_or_does_not_start_a_line_says_so(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by = bench("gpu_mps")
    monkeypatch.setenv("PATH", str(tmp_path))
    with served_by.running(tmp_path / "none") as served:
        assert served == served_by.Mps({}, "no nvidia-cuda-mps-control on PATH")
    mps.program(tmp_path, "echo no device >&2; exit 1")
    with served_by.running(tmp_path / "failing") as served:
        assert served == served_by.Mps({}, "nvidia-cuda-mps-control: no device")


def test_where_mps_does_not_answer_a_line_says_that_it_may_start_yet(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served_by = bench("gpu_mps")
    mps.program(tmp_path, "exec sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(served_by, "PATIENCE", 0.2)
    with served_by.running(tmp_path / "late") as served:
        assert served == served_by.Mps({}, served_by.NO_ANSWER)
    assert f"if it still does, {tmp_path / 'late/pipe'} will name its daemon" in capsys.readouterr().err


def printed(*words: str) -> dict[str, Any]:
    return json.loads(command(ROOT, sys.executable, "bench/gpu.py", *words).stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be measured")
def test_without_a_gpu_nothing_is_measured() -> None:
    found = printed()
    assert found["goals"] == {}
    assert found["notes"][0].startswith("no CUDA GPU here")


@pytest.mark.slow
def test_the_script_runs_whole_on_a_cpu_and_claims_no_goal(tmp_path: Path) -> None:
    found = printed("--device", "cpu", "--tiny")
    assert found["goals"] == {}
    words = [row[0] for row in found["tables"][0]["rows"]]
    parts = ("end to end", "test_resnet 32x32", "  best of these over timm", "JPEG on the fly", "prediction")
    for part in (*parts, "  host ms a step, all threads", "cifar_resnet8 32x32", "  4 processes", "  4 on streams"):
        assert any(word.startswith(part) for word in words), (part, found["notes"])
    assert [row[0] for row in found["tables"][1]["rows"]] == [
        *("prepare", "kfold", "lr-find", "folds", "oof-ensemble", "tta-predict")
    ]
    told = " ".join(found["notes"])
    assert "tests collected" in told
    assert "error" not in told.lower()
    assert "memory" in told  # how long it took: a CPU has no figures of a GPU's
