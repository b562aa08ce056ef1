"""Five folds on 1, 2 and 4 nodes of a Ray cluster against `maskcli folds`, and the memory that the parts take.

python bench/cluster.py [--nodes 1,2,4] [--epochs 10] [--people 132] [--rounds 3]

All nodes are on this machine's loopback, one core each, so no more of them than the machine has cores can gain anything; what
it shows is what a cluster costs: starting Ray's processes, importing, sending checkpoints. The time of a run begins when its
trainings are ordered and ends when the last checkpoint is back. `maskcli folds` trains as many at a time as there are cores, one
thread each. Every node has a copy of the project, which is made before the clock starts. All in turn, and the least of the
rounds, since whatever else runs only adds. Memory: the largest proportional set size (PSS: pages that several processes share
count in parts) of each process, sampled while they train.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import scratch
from scratch import say

STORE = 80 * 2**20  # bytes of a node's object store, the least that Ray takes
FOLDS = [0, 1, 2, 3, 4]


@dataclass(frozen=True)
class Node:
    """A node's own copy of the project, made beforehand: stages.parallel.training_process.Checkout."""

    source: Path
    run: str = "*"  # any

    def made(self, root: Path, say: Any) -> Path:
        if not root.exists():
            shutil.copytree(self.source, root, ignore=shutil.ignore_patterns("checkpoints", "train", "cluster"))
        return root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,2,4")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--people", type=int, default=132)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    several = [int(one) for one in options.nodes.split(",")]
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as name:
        folder = Path(name) / "project"
        train = {"epochs": options.epochs, "batch_size": 32}
        scratch.make(folder, options.people, 20, {"folds": FOLDS, "train": train, "parallel": {"threads": 1}})
        for words in (("prepare",), ("kfold",), ("lr-find",)):
            scratch.run(folder, "maskcli", *words)
        seconds: dict[int, list[float]] = defaultdict(list)  # by nodes; 0: maskcli folds
        memory: dict[str, float] = defaultdict(float)
        for number in range(options.rounds):
            say(f"round {number + 1}: maskcli folds")
            forget(folder)
            seconds[0].append(scratch.timed(folder, "maskcli", "folds", "--jobs", os.cpu_count() or 1))
            weights = digests(folder)
            for count in several:
                say(f"round {number + 1}: {count} nodes")
                forget(folder)
                place = Path(name) / f"round{number}-nodes{count}"
                seconds[count].append(on_nodes(folder, place, count, memory))
                scratch.run(folder, "maskcli", "folds")  # from the checkpoints
                if digests(folder) != weights:
                    raise scratch.Failed(f"{count} nodes: other weights than `maskcli folds`")
    least = {count: min(taken) for count, taken in seconds.items()}
    alone, first = least.pop(0), several[0]
    rows = [["`maskcli folds`", f"{alone:.1f}", "", ""]]
    rows += [
        [f"{count} nodes", f"{taken:.1f}", f"{alone / taken:.2f}", f"{least[first] / taken:.2f}"]
        for count, taken in least.items()
    ]
    goals = {f"cluster_{count}_nodes_over_folds": round(alone / taken, 3) for count, taken in least.items()}
    scratch.report(
        goals,
        [
            scratch.table("Five folds", ["", "seconds", "folds / this", f"{first} nodes / this"], rows),
            scratch.table("Memory", ["process", "PSS, MB"], [[one, round(most)] for one, most in memory.items()]),
        ],
        [f"{os.cpu_count()} cores; weights equal byte for byte in all runs"],
    )


def forget(folder: Path) -> None:
    for part in ("checkpoints", "train"):
        shutil.rmtree(folder / "out" / part, ignore_errors=True)


def digests(folder: Path) -> list[bytes]:
    return [(folder / f"out/train/{fold}/models/0.safetensors").read_bytes() for fold in FOLDS]


def on_nodes(folder: Path, root: Path, count: int, memory: dict[str, float]) -> float:
    """Train the folds on so many nodes; seconds. memory: the most of each process, taken note of."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": f"{scratch.ROOT}{os.pathsep}{scratch.ROOT / 'bench'}"}
    from cluster import Node as Copy  # this file under the name that nodes know it by
    from ray.cluster_utils import Cluster

    from stages.base.talk import SILENT
    from stages.learn.training_terms import Terms
    from stages.parallel import side_by_side
    from stages.parallel.ray_engine import RayEngine
    from stages.parallel.training_process import Order
    from stages.params.load import load

    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(count):
            made = cluster.add_node(num_cpus=1, object_store_memory=STORE)
            Copy(folder).made(root / made.node_id, say)
        engine = RayEngine(cluster.address, root=root / "{node}")
        orders = [Order(folder, load(), fold, None, Terms(), [], checkout=Copy(folder)) for fold in FOLDS]
        ended = threading.Event()
        sampling = threading.Thread(target=sample, args=(engine.process.pid, memory, ended))
        sampling.start()
        began = time.perf_counter()
        trained = side_by_side.run_on(engine, orders, SILENT)
        taken = time.perf_counter() - began
        ended.set()
        sampling.join()
        if {training.outcome for training in trained} != {"done"}:
            raise scratch.Failed("; ".join(training.error for training in trained))
        return taken
    finally:
        os.chdir(before)
        cluster.shutdown()


def sample(driver: int | None, memory: dict[str, float], ended: threading.Event) -> None:
    """Note the most that each kind of process has taken, MB."""
    while not ended.wait(1.0):
        for process in psutil.process_iter(["name", "cmdline"]):
            try:
                kind = kind_of(process, driver)
                if kind:
                    memory[kind] = max(memory[kind], process.memory_full_info().pss / 1e6)
            except (psutil.Error, OSError):
                continue


def kind_of(process: psutil.Process, driver: int | None) -> str:
    words = " ".join(process.info["cmdline"] or [])
    if process.pid == driver:
        return "head: the process that talks to Ray"
    if words.startswith("ray::Node"):
        return "worker: the one that supervises a training"
    if any(
        parent.cmdline()[:1] == ["ray::Node"] or "ray::Node" in "".join(parent.cmdline())
        for parent in process.parents()
    ):
        return "" if "resource_tracker" in words else "worker: the training, and the one that it is forked from (each)"
    for name in ("gcs_server", "raylet"):
        if process.info["name"] == name:
            return f"Ray: {name}"
    return ""


if __name__ == "__main__":
    main()
