"""How many cores: affinity and control groups, by files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arseg_edge.runtime.inference.cpu_budget import usable_cores

V2, V1 = "0::", "4:cpu,cpuacct:"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


class Groups:
    """Control groups as the kernel shows them: ``/proc/self``, and a tree of each version below a mount point."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.proc.mkdir()
        self.mounted = folder / "the groups"  # a space, which mountinfo escapes
        self._lines = ["23 1 0:22 / /proc rw,relatime - proc proc rw", "nonsense"]

    def mount(self, kind: str, root: str = "/") -> None:
        point = str(self.mounted / kind).replace(" ", "\\040")
        options = "rw,cpu,cpuacct" if kind == "cgroup" else "rw,nsdelegate"
        self._lines.append(f"31 23 0:28 {root} {point} rw,relatime shared:9 - {kind} {kind} {options}")
        (self.proc / "mountinfo").write_text("\n".join(self._lines) + "\n")

    def process(self, *lines: str) -> None:
        (self.proc / "cgroup").write_text("\n".join(lines) + "\n")

    def limit(self, kind: str, path: str, quota: str) -> None:
        folder = self.mounted / kind / path
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "cgroup2":
            (folder / "cpu.max").write_text(quota + "\n")
        else:
            (folder / "cpu.cfs_quota_us").write_text(quota + "\n")
            (folder / "cpu.cfs_period_us").write_text("100000\n")


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("350000 100000", 4),
        ("1600000 100000", 8),
        ("100000 0", 8),
        ("nonsense", 8),
        ("", 8),
    ],
)
def test_version_2(groups: Groups, limit: str, cores: int) -> None:
    groups.mount("cgroup2")
    groups.process("0::/")
    groups.limit("cgroup2", ".", limit)
    assert usable_cores(groups.proc) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3), ("1000", 1), ("much", 8)])
def test_version_1(groups: Groups, quota: str, cores: int) -> None:
    groups.mount("cgroup")
    groups.process("5:memory:/elsewhere", "4:cpu,cpuacct:/")
    groups.limit("cgroup", ".", quota)
    assert usable_cores(groups.proc) == cores


@pytest.mark.parametrize(("kind", "line", "unit"), [("cgroup2", V2, " 100000"), ("cgroup", V1, "")])
@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"system.slice/job.service/worker": "200000"}, 2),
        ({"system.slice/job.service": "300000"}, 3),
        ({"system.slice": "400000", "system.slice/job.service/worker": "500000"}, 4),
        ({"system.slice": "400000", "system.slice/job.service": "100000"}, 1),
        ({".": "600000", "system.slice": "700000"}, 6),
        ({"system.slice/other.service": "100000", "user.slice": "100000"}, 8),
    ],
)
def test_the_lowest_of_a_group_and_all_that_it_lies_in_counts(
    groups: Groups, kind: str, line: str, unit: str, limits: dict[str, str], cores: int
) -> None:
    groups.mount(kind)
    groups.process("1:name=systemd:/", f"{line}/system.slice/job.service/worker")
    for path, quota in limits.items():
        groups.limit(kind, path, quota + unit)
    assert usable_cores(groups.proc) == cores


@pytest.mark.parametrize(("kind", "line", "unit"), [("cgroup2", V2, " 100000"), ("cgroup", V1, "")])
def test_a_mount_that_shows_only_a_container_s_own_groups(groups: Groups, kind: str, line: str, unit: str) -> None:
    groups.mount(kind, root="/docker/0123")
    groups.process(f"{line}/docker/0123/worker")
    groups.limit(kind, "worker", "300000" + unit)
    groups.limit(kind, ".", "200000" + unit)
    assert usable_cores(groups.proc) == 2


@pytest.mark.parametrize("path", ["/../other", "/not/shown/here"])
def test_a_group_that_the_mount_does_not_show(groups: Groups, path: str) -> None:
    groups.mount("cgroup2")
    groups.process(f"0::{path}")
    groups.limit("cgroup2", ".", "200000 100000")
    assert usable_cores(groups.proc) == 2


def test_both_versions_at_once(groups: Groups) -> None:
    groups.mount("cgroup2")
    groups.mount("cgroup")
    groups.process("0::/a", "4:cpu,cpuacct:/b")
    groups.limit("cgroup2", "a", "300000 100000")
    groups.limit("cgroup", "b", "200000")
    assert usable_cores(groups.proc) == 2


def test_no_control_group(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == 8


def test_no_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


def test_here() -> None:
    assert 1 <= usable_cores() <= 8
