"""What containers and batch systems allow, read from made-up trees of control groups."""

from pathlib import Path

import psutil
import pytest

from stages.base import cgroup, cores, memory
from stages.by_hand import check_findings

V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "33 32 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 32 0:30 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def version_2(root: Path, group: str, top: str = "/", **files: str) -> Path:
    names = {f"sys/fs/cgroup/{name.replace('__', '/').replace('_max', '.max')}": text for name, text in files.items()}
    return tree(root, f"0::{group}\n", V2.format(top=top), names)


def version_1(root: Path, group: str, top: str = "/", **files: str) -> Path:
    groups = f"5:memory:{group}\n4:cpu,cpuacct:{group}\n1:name=systemd:/\n0::/\n"
    return tree(root, groups, V1.format(top=top), {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def test_version_2_counts_the_least_limit_on_the_way_up(tmp_path: Path) -> None:
    root = version_2(
        tmp_path,
        "/slurm/job1",
        slurm__job1__cpu_max="max 100000\n",
        slurm__job1__memory_max="max\n",
        slurm__cpu_max="150000 100000\n",
        slurm__memory_max="2000000000\n",
        memory_max="4000000000\n",
    )
    assert (cgroup.cpu_quota(root), cgroup.memory_limit(root)) == (1.5, 2_000_000_000)


def test_a_group_that_is_mounted_as_the_topmost_is_found_by_its_path_outside(tmp_path: Path) -> None:
    root = version_2(tmp_path, "/docker/abc", top="/docker/abc", cpu_max="50000 100000\n", memory_max="900000000\n")
    assert (cgroup.cpu_quota(root), cgroup.memory_limit(root)) == (0.5, 900_000_000)


def test_version_1_has_a_tree_for_each_controller(tmp_path: Path) -> None:
    files = {
        "memory/job/memory.limit_in_bytes": "480000000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu,cpuacct/job/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    root = version_1(tmp_path, "/job", **files)
    assert (cgroup.cpu_quota(root), cgroup.memory_limit(root)) == (3.0, 480_000_000)


@pytest.mark.parametrize("groups", ["", "0::/\n", "nonsense\n5:memory:/x\n"])
def test_no_limit_is_found_where_there_is_none(tmp_path: Path, groups: str) -> None:
    assert cgroup.cpu_quota(tmp_path) is None
    assert cgroup.memory_limit(tmp_path) is None
    root = tree(tmp_path, groups, V2.format(top="/") + V1.format(top="/"), {"sys/fs/cgroup/cpu.max": "max"})
    assert cgroup.cpu_quota(root) is None
    assert cgroup.memory_limit(root) is None


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (0.5, 1), (1.0, 1), (1.5, 2), (4.0, 4), (20.0, 8)])
def test_cores_follow_the_quota_and_half_a_core_is_one(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, usable: int
) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores.cgroup, "cpu_quota", lambda: quota)
    assert cores.usable() == usable


def test_memory_is_the_machines_or_what_the_group_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = psutil.virtual_memory().total
    for limit, total in ((None, machine), (480_000_000, 480_000_000), (machine * 2, machine)):
        monkeypatch.setattr(memory.cgroup, "memory_limit", lambda limit=limit: limit)
        assert memory.total() == total


def test_check_warns_where_folds_at_a_time_would_not_fit_the_groups_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_findings.gpu, "usable", lambda: False)
    monkeypatch.setattr(check_findings.memory, "total", lambda: 1_000_000_000)
    measured = {"peak": 400_000_000, "parts": 1, "jobs": 4}
    assert check_findings.memory_use(measured | {"jobs": 2}, 5).state == "ok"
    found = check_findings.memory_use(measured, 5)
    assert (found.state, found.detail.split(": ")[-1]) == ("warning", "2")
    assert "400 MB of 1.0 GB (main memory) at the real batch, and 4 folds train at a time" in found.detail
    assert "lower train.batch_size" in check_findings.memory_use(measured | {"peak": 950_000_000}, 5).detail
