"""Ctrl-C and its kin: one true line, exit code 130, and in training a checkpoint. Moments are chosen by what was printed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
import yaml

from cli import main
from stages import eda, kfold
from stages.base import lock, paths
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.by_hand import compare
from stages.learn import checkpoint, interrupt, processes
from stages.params.schema import Params
from tests.conftest import ENVIRONMENT, ROOT, small

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
BEGINS_AGAIN = (
    "maskcli: interrupted; no file is half written, and what was there before stands; the same command begins again\n"
)


def press() -> None:
    """Ctrl-C, now."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (kfold, ["kfold"]),
        (eda, ["eda", "--json"]),
        (compare, ["compare", "HEAD"]),
        (compare, ["--debug", "compare", "a"]),
    ],
)
def test_ctrl_c_in_any_command_is_one_line_and_130(
    project: Path, stage: object, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "run", lambda *values: press())
    monkeypatch.setattr(sys, "argv", ["maskcli", *words])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert (ended.value.code, capsys.readouterr().err) == (130, BEGINS_AGAIN)


def test_ctrl_c_while_a_command_reads_its_words_is_told_too(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Words(list[str]):
        def __getitem__(self, which):  # type: ignore[no-untyped-def]
            if which == slice(1, None):  # as typer takes them
                press()
            return super().__getitem__(which)

    monkeypatch.setattr(sys, "argv", Words(["maskcli", "kfold"]))
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert (ended.value.code, capsys.readouterr().err) == (130, BEGINS_AGAIN)


def test_other_ends_are_no_interrupts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in ((["--help"], 0), (["nonsense"], 2), (["kfold", "--nonsense"], 2)):
        monkeypatch.setattr(sys, "argv", ["maskcli", *words])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert ended.value.code == code
        assert "interrupted" not in capsys.readouterr().err


IMPORTING = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
from cli.entry import run
run()
"""


def test_ctrl_c_during_the_imports_is_one_line_too() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", IMPORTING], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "maskcli: interrupted before it began\n")


@pytest.fixture
def settled(project: Path) -> Params:
    """A project whose folds take hours, in the working folder."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml", "threads": {"0": 1, "1": 1}, "device": "cpu"})
    params = small(train={"epochs": 9000}, parallel={"jobs": 2, "threads": 1})
    paths.PARAMS.write_text(yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False))
    return params


def ended(
    words: list[str], act: Callable[[subprocess.Popen[str]], None], after: str = "epoch  2/9000", ignoring: int = 0
) -> tuple[int, str]:
    """Run a program in a session of its own, `act` when it has printed `after`; its exit code and last line."""
    starting = (lambda: signal.signal(ignoring, signal.SIG_IGN)) if ignoring else None
    process = subprocess.Popen(
        words,
        env=ENVIRONMENT | {"COLUMNS": "1000"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=starting,
    )
    assert process.stderr is not None
    last, acted = "", False
    with process:
        try:
            for last in process.stderr:
                if not acted and after in last:
                    acted = True
                    act(process)
                assert acted or "epoch 20/" not in last, f"never said {after}"
        finally:
            if not acted:
                process.kill()
    return process.returncode, last


def send(number: signal.Signals) -> Callable[[subprocess.Popen[str]], None]:
    """To all processes of the session, as a terminal sends Ctrl-C, and Slurm its warning."""
    return lambda process: os.killpg(process.pid, number)


def kept(line: str, name: str, path: Path) -> bool:
    return f"{name} is kept at epoch " in line and str(path) in line


def test_slurms_warning_ends_a_training_with_a_checkpoint_that_the_line_names(settled: Params) -> None:
    code, line = ended(["maskcli", "train", "--fold", "0"], send(signal.SIGUSR1))
    (header,) = checkpoint.headers()
    assert code == 130
    assert line.startswith("maskcli: interrupted; fold 0 is kept at epoch ")
    assert line.endswith("; the same command goes on from there\n")
    assert kept(line, "fold 0", paths.checkpoint(0, 0, header.run))
    assert (header.epoch, header.finished) >= (2, False)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("words", [["folds"], ["train", "--fold", "0", "--ahead"], ["train"]])
def test_every_signal_that_asks_to_stop_leaves_checkpoints(
    settled: Params, number: signal.Signals, words: list[str]
) -> None:
    code, line = ended(["maskcli", *words], send(number))
    found = checkpoint.headers()
    assert code == 130
    assert all(kept(line, f"fold {header.fold}", paths.checkpoint(header.fold, 0, header.run)) for header in found)
    assert {header.fold for header in found} == ({0} if words == ["train"] else {0, 1})


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_processes_that_share_the_batches_stop_at_one_step(settled: Params, number: signal.Signals) -> None:
    """The signal reaches the trainings, as from Slurm, and not torchrun, which SIGUSR1 would end."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "cli.main"]

    def send_to_trainings(process: subprocess.Popen[str]) -> None:
        import psutil

        for child in psutil.Process(process.pid).children():
            child.send_signal(number)

    lines: list[str] = []
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "COLUMNS": "1000"}
    process = subprocess.Popen([*words, "train", "--fold", "0"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if "epoch  2/9000" in line:
                send_to_trainings(process)
            lines.append(line)
    told = [line for line in lines if line.startswith("maskcli: interrupted; fold 0 is kept at epoch ")]
    (header,) = checkpoint.headers()
    assert len(told) == 1
    assert kept(told[0], "fold 0", paths.checkpoint(0, 0, header.run))


@pytest.mark.slow
@pytest.mark.parametrize("words", [["train", "--fold", "0"], ["folds"]])
def test_a_lost_terminal_leaves_a_checkpoint_though_nothing_can_be_said_any_more(
    settled: Params, words: list[str]
) -> None:
    import pty

    process, terminal = pty.fork()
    if not process:
        os.execvpe("maskcli", ["maskcli", *words], ENVIRONMENT)
    seen = b""
    while b"epoch  2/9000" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    assert checkpoint.headers()[0].epoch >= 2


@pytest.mark.slow
def test_nohup_keeps_working(settled: Params) -> None:
    """SIGHUP, which it was started to ignore, does nothing; Ctrl-C afterwards ends it."""

    def hang_up(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGHUP)
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch  5/9000" in line:
                break
        os.killpg(process.pid, signal.SIGINT)

    code, line = ended(["maskcli", "train", "--fold", "0"], hang_up, ignoring=signal.SIGHUP)
    assert code == 130
    assert "fold 0 is kept at epoch " in line
    assert checkpoint.headers()[0].epoch >= 5


def test_a_signal_that_a_process_was_started_to_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert set(interrupt.heeded()) == {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
        with interrupt.noted() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert asked()
            os.kill(os.getpid(), signal.SIGTERM)  # says no more than the first
            with pytest.raises(KeyboardInterrupt):
                press()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_waits_for_another_can_be_interrupted(project: Path) -> None:
    paths.CHECKPOINTS.mkdir(parents=True)
    write_json(paths.CHECKPOINTS / "0.holder.json", {"process": 1, "run": "same", "command": "maskcli folds"})
    with (
        filelock.FileLock(paths.CHECKPOINTS / "0.lock"),
        pytest.raises(KeyboardInterrupt),
        checkpoint.alone("fold 0", "same", SILENT, lambda: True),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("words", [["train", "--fold", "0"], ["folds", "--only", "0"]])
def test_a_real_process_that_waits_for_a_folds_lock_obeys_sigterm(settled: Params, words: list[str]) -> None:
    with lock.held(paths.CHECKPOINTS / "0.lock"):
        terminate = send(signal.SIGTERM)
        code, line = ended(["maskcli", *words], terminate, after="is training it already; waiting for what it leaves")
    assert code == 130
    assert line.startswith("maskcli: interrupted; ")
    assert not checkpoint.headers()


def test_processes_that_share_batches_agree_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "several", lambda: True)
    for own, other, agreed in ((False, False, False), (True, False, True), (False, True, True)):
        looks: list[bool] = []

        def of_all(value: bool, other: bool = other, looks: list[bool] = looks) -> list[bool]:
            looks.append(value)
            return [value, other]

        monkeypatch.setattr(processes, "of_all", of_all)
        asked = interrupt.agreed(lambda own=own: own)  # type: ignore[misc]
        answers = [asked() for _ in range(2 * interrupt.TOGETHER)]
        assert answers.count(True) == (2 if agreed else 0)
        assert answers[interrupt.TOGETHER - 1] == agreed
        assert looks == [own, own]
