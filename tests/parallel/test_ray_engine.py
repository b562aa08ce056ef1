"""Trainings on the nodes of a Ray cluster: a real one, of several nodes on this machine's loopback.

Each node has a folder of its own for its checkouts, so that a fold which goes on elsewhere has only what the head has.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.learn.training_terms import Terms
from stages.parallel import kept_checkpoints, ray_address, side_by_side
from stages.parallel.engine import Training
from stages.parallel.ray_engine import RayEngine
from stages.parallel.training_process import Order
from stages.params.schema import Params
from tests.conftest import ENVIRONMENT, HANGS, ROOT, small
from tests.parallel.copied_checkout import Copied

pytest.importorskip("ray", reason="Ray is not installed (`pip install maskcli[cluster]`)")

EPOCHS = 12
STORE = 80 * 2**20  # bytes: the smallest object store that Ray takes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose head trains nothing; tests add the nodes that they need."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # nodes import the tests' checkout
        made = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False},
        )
        yield made
        made.shutdown()


@pytest.fixture
def nodes(cluster: Any) -> Iterator[Callable[..., Any]]:
    """Adds a node; those that are left are removed at the end.

    Their own way, for then the head knows at once that they are gone: a killed one is offered to the next test for as long as
    Ray waits for its heartbeats (test_a_training_on_a_node_that_has_just_died_goes_on_elsewhere).
    """
    added: list[Any] = []

    def add(**options: Any) -> Any:
        added.append(cluster.add_node(num_cpus=1, object_store_memory=STORE, **options))
        return added[-1]

    yield add
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=True)
    cluster.wait_for_nodes(HANGS)


@pytest.fixture
def settled(project: Path) -> Params:
    """Params for two folds, the learning rate settled; the project is the working folder."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml", "threads": {"0": 1, "1": 1}, "device": "cpu"})
    return small(train={"epochs": EPOCHS}, parallel={"jobs": 2, "threads": 1})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of the nodes' checkouts."""
    return tmp_path / "nodes/{node}"


def engine(cluster: Any, root: Path, **options: Any) -> RayEngine:
    return RayEngine(cluster.address, root=root, every=0.0, **options)


def orders(params: Params, **terms: Any) -> list[Order]:
    return [
        Order(Path.cwd(), params, fold, None, Terms(**terms), [], checkout=Copied(Path.cwd(), "this disk is refused"))
        for fold in params.folds
    ]


def home(root: Path, node: Any) -> Path:
    """The folder of one node."""
    return Path(str(root).replace("{node}", node.node_id))


def trained_here(params: Params) -> list[bytes]:
    """The weights of the folds after a run of folds that takes them from out/checkpoints, and then from a run without."""
    said: list[str] = []
    folds.run(params, Talk(said.append))
    assert all(any(line.startswith(f"fold {fold}: goes on from") for line in said) for fold in params.folds)
    assert not any(re.search(r"epoch +\d+/", line) for line in said)  # nothing was left to train
    taken = [paths.weights(fold).read_bytes() for fold in params.folds]
    logits = [paths.oof_logits(fold).read_bytes() for fold in params.folds]
    shutil.rmtree(paths.CHECKPOINTS)
    folds.run(params, SILENT)
    assert logits == [paths.oof_logits(fold).read_bytes() for fold in params.folds]
    assert taken == [paths.weights(fold).read_bytes() for fold in params.folds]
    return taken


def outcomes(trainings: list[Training]) -> list[str]:
    return [training.outcome for training in trainings]


def test_a_node_killed_in_the_middle_loses_nothing_and_all_comes_out_as_trained_here(
    cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    several, said, killed = [nodes(), nodes()], [], []

    def say(line: str) -> None:
        said.append(line)
        if f"fold 1 epoch  4/{EPOCHS}" in line and not killed:
            killed.append(line)
            (at,) = [node for node in several if list(home(root, node).glob("project/out/checkpoints/1-*.ckpt"))]
            cluster.remove_node(at, allow_graceful=False)

    here = engine(cluster, root)
    trainings = side_by_side.run_on(here, orders(settled), Talk(say))
    assert outcomes(trainings) == ["done", "done"]
    (lost,) = [line for line in said if line.startswith("fold 1: ") and "(loss 1 of 3)" in line]
    assert "is gone, or cannot be reached (log: " in lost
    assert "; it goes on from epoch " in lost
    log = here.log(trainings[1])
    assert log
    assert "fold 1: goes on from out/checkpoints/1-0-" in log.read_text()
    assert len(trained_here(settled)) == 2


def test_no_gpu_where_one_is_asked_for_is_told_before_anything_begins(
    cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    nodes()
    with pytest.raises(UserError, match=r"^fold 0: --gpus-per-fold 1: no node has that many \(the most is 0\)"):
        side_by_side.run_on(engine(cluster, root, gpus=1), orders(settled), SILENT)
    assert not paths.CHECKPOINTS.exists()


def test_no_cluster_at_the_address_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(
            UserError, match=rf"^--address {address}: no Ray cluster answers there \(Connection refused\)"
        ):
            RayEngine(address)
    for wrong in ("nowhere", "10.0.0.1:x"):
        with pytest.raises(UserError, match=f"^--address {wrong}: is no address; write host:port"):
            ray_address.reach(wrong)


def test_another_version_there_is_one_line(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    import ray

    monkeypatch.setattr(ray, "__version__", "2.9.0")
    request.addfinalizer(ray.shutdown)
    with pytest.raises(
        UserError, match=r"other versions run there .*Ray: 2\.9\.0.*; install the same Ray and Python"
    ) as raised:
        ray_address.connect(cluster.address)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_node_that_claims_a_gpu_it_has_not_is_left_out(
    cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    nodes(num_gpus=1)
    said: list[str] = []
    with pytest.raises(UserError, match=r"^fold 0: no node that is left can train it, 1 could not"):
        side_by_side.run_on(engine(cluster, root, gpus=1), orders(settled)[:1], Talk(said.append))
    assert any("no GPU works here, and one is asked for" in line for line in said)


@pytest.mark.slow
def test_a_training_on_a_node_that_has_just_died_goes_on_elsewhere(
    cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    """Ray offers such a node until it has missed its heartbeats for 15 s or so."""
    dead, _ = nodes(), nodes()
    said: list[str] = []
    here = engine(cluster, root)
    cluster.remove_node(dead, allow_graceful=False)
    assert outcomes(side_by_side.run_on(here, orders(settled), Talk(said.append))) == ["done", "done"]
    (lost,) = [line for line in said if " is gone, or cannot be reached (log: " in line]
    assert re.match(r"fold [01]: a node is gone.*; it goes on later \(loss 1 of 3\)$", lost)
    assert not home(root, dead).exists()


@pytest.mark.slow
@pytest.mark.parametrize("why", ["full", "refuses"])
def test_a_node_whose_disk_is_full_or_that_cannot_have_the_project_is_left_out(
    why: str, cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    bad, _ = nodes(), nodes()
    home(root, bad).mkdir(parents=True)
    (home(root, bad) / why).touch()
    said: list[str] = []
    assert outcomes(side_by_side.run_on(engine(cluster, root), orders(settled), Talk(said.append))) == ["done", "done"]
    words = "cannot be written (File too large)" if why == "full" else "this disk is refused"
    assert sum(words in line and "(loss 1 of 3)" in line for line in said) == 1
    assert len(trained_here(settled)) == 2


@pytest.mark.slow
def test_a_full_object_store_is_nothing_to_trainings(
    cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    nodes()
    code = (
        "import ray, time, numpy\n"
        f"ray.init({cluster.address!r}, log_to_driver=False, namespace='others')\n"
        "class Hog:\n"
        "    def __init__(self): self.kept = [ray.put(numpy.zeros(2**20, numpy.uint8)) for _ in range(78)]\n"
        "hogs = [ray.remote(Hog).options(num_cpus=0, label_selector={'ray.io/node-id': node['NodeID']}).remote()\n"
        "        for node in ray.nodes() if node['Alive']]\n"
        "ray.get([hog.__ray_ready__.remote() for hog in hogs])\n"
        "print('full', flush=True)\n"
        "time.sleep(600)\n"
    )
    hog = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert hog.stdout
        assert "full\n" in iter(hog.stdout.readline, "")  # among what Ray prints
        assert outcomes(side_by_side.run_on(engine(cluster, root), orders(settled)[:1], SILENT)) == ["done"]
    finally:
        hog.kill()
        hog.wait()


@pytest.mark.slow
def test_what_is_cancelled_while_its_node_pulls_photos_leaves_no_process(
    cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    nodes()
    here = engine(cluster, root)
    training = here.submit(replace(orders(settled)[0], checkout=Copied(Path.cwd(), pulls=True)))
    heard: list[str] = []
    while "say" not in heard:
        heard += [message.kind for message in here.wait([training], 1.0)]
    while not any(process.name() == "sleep" for process in trainings_of(root)):
        time.sleep(0.1)
    here.cancel([training])
    while not training.outcome:
        heard += [message.kind for message in here.wait([training], 1.0)]
    here.close([])
    assert training.outcome == "stopped"
    assert not psutil.wait_procs(trainings_of(root), timeout=HANGS)[1]


STARTED = """
import pathlib, sys
from stages.base.talk import Talk
from stages.params.load import load
from stages.parallel import side_by_side
from tests.parallel import test_ray_engine as tests

class Here:
    address = sys.argv[1]

if __name__ == "__main__":
    talk = Talk(lambda line: print(line, flush=True))
    try:
        side_by_side.run_on(tests.engine(Here, pathlib.Path(sys.argv[2])), tests.orders(load()), talk)
    except KeyboardInterrupt as error:
        print(f"stopped: {error}", flush=True)
"""


def started(cluster: Any, root: Path, params: Params) -> subprocess.Popen[str]:
    """The same run in a process of its own, which prints what it says."""
    from yaml import safe_dump

    paths.PARAMS.write_text(safe_dump(params.model_dump(mode="json"), sort_keys=False))
    Path("started.py").write_text(STARTED)
    words = [sys.executable, "started.py", cluster.address, str(root)]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trainings_of(root: Path) -> list[psutil.Process]:
    """Processes that work in the nodes' folders."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(root.parent):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_head_that_is_killed_or_interrupted_leaves_no_process_and_goes_on_from_there(
    number: signal.Signals, cluster: Any, nodes: Callable[..., Any], settled: Params, root: Path
) -> None:
    nodes(), nodes()
    long = settled.model_copy(update={"train": settled.train.model_copy(update={"epochs": 60})})
    running = started(cluster, root, long)
    assert running.stdout
    waited_for = {f"fold {fold} epoch  3/60" for fold in long.folds}
    while waited_for:  # of both, in whatever order they come
        line = running.stdout.readline()
        assert line, waited_for
        waited_for -= {begins for begins in waited_for if begins in line}
    working = trainings_of(root)
    assert len(working) == 2
    running.send_signal(number)
    rest = running.stdout.read()
    running.wait(HANGS)
    assert not psutil.wait_procs(working, timeout=HANGS)[1]
    if number == signal.SIGINT:
        assert "stopped: fold 0 is kept at epoch " in rest
    ends = time.monotonic() + HANGS  # the process that talks to Ray writes what still comes
    at: list[kept_checkpoints.Progress] = []
    while time.monotonic() < ends and len(at) < 2:
        time.sleep(0.1)
        at = [kept_checkpoints.progress(path) for path in sorted(paths.CHECKPOINTS.glob("[01]-*.ckpt"))]
    assert len(at) == 2
    assert all(not finished and epoch >= 1 for finished, epoch, _ in at)
    said: list[str] = []
    assert outcomes(side_by_side.run_on(engine(cluster, root), orders(long), Talk(said.append))) == ["done", "done"]
    assert all(any(line.startswith(f"fold {fold}: goes on from") for line in said) for fold in long.folds)
    assert len(trained_here(long)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("part", ["kill_gcs_server", "kill_raylet"])
def test_a_lost_connection_to_the_cluster_ends_in_one_line_and_loses_nothing(
    part: str, settled: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = {"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False}
    cut = Cluster(initialize_head=True, head_node_args=options)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        begun = [any(f"fold {fold} epoch  3/500" in one for one in said) for fold in (0, 1)]
        if all(begun) and "epoch  3/500" in line:
            getattr(cut.head_node, part)()

    long = settled.model_copy(update={"train": settled.train.model_copy(update={"epochs": 500})})
    try:
        with pytest.raises(UserError, match=r"; the newest checkpoints that came from it are kept") as raised:
            side_by_side.run_on(engine(cut, root), orders(long), Talk(say))
        assert "\n" not in str(raised.value)
        assert {path.name[0] for path in paths.CHECKPOINTS.glob("[01]-*.ckpt")} == {"0", "1"}
        assert not psutil.wait_procs(trainings_of(root), timeout=HANGS)[1]
    finally:
        cut.shutdown()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
