"""How many CPU cores this process may really use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc/self")


def usable_cores(proc: Path = _PROC) -> int:
    """Return the number of cores by the affinity mask and, on Linux, by the control groups' quotas; at least 1.

    ``os.cpu_count()`` knows neither: in a container with half a core it names the whole machine. A quota binds all
    groups below it, so of the process's own group and all that it lies in the lowest one counts.

    Args:
        proc: the process's directory in ``/proc``: ``cgroup`` and ``mountinfo`` there say where the groups are
            (cgroups(7), proc_pid_mountinfo(5)).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(round(quota) for quota in _quotas(proc))]))


def _quotas(proc: Path) -> Iterator[float]:
    """Yield the cores that control groups of version 2 and 1 grant, where they limit them."""
    mounts = list(_mounts(proc))
    for line in _lines(proc / "cgroup"):
        hierarchy, controllers, path = (*line.split(":", 2), "", "")[:3]
        for mount in mounts:
            if hierarchy == "0" and mount.kind == "cgroup2":
                read = _quota_of_version_2
            elif "cpu" in controllers.split(",") and mount.kind == "cgroup" and "cpu" in mount.options:
                read = _quota_of_version_1
            else:
                continue
            for group in _groups(mount, path):
                quota = read(group)
                if quota is not None:
                    yield quota


class _Mount(NamedTuple):
    """A hierarchy of control groups in the file system."""

    kind: str
    root: str
    """Which group of the hierarchy the mount shows at its top."""
    point: Path
    options: tuple[str, ...]


def _mounts(proc: Path) -> Iterator[_Mount]:
    for line in _lines(proc / "mountinfo"):
        place, _, system = line.partition(" - ")
        fields, (kind, _, options, *_) = place.split(), (*system.split(), "", "", "")
        if len(fields) > 4 and kind in ("cgroup", "cgroup2"):
            yield _Mount(kind, _unescaped(fields[3]), Path(_unescaped(fields[4])), tuple(options.split(",")))


def _groups(mount: _Mount, path: str) -> Iterator[Path]:
    """Yield the directory of a group and those of all that it lies in, as far as the mount shows them."""
    inside = path.removeprefix(mount.root) if mount.root != "/" else path
    names = [name for name in inside.split("/") if name]
    if ".." not in names:  # else the group lies beside what is mounted
        for count in range(len(names), 0, -1):
            yield mount.point.joinpath(*names[:count])
    yield mount.point


def _quota_of_version_2(group: Path) -> float | None:
    try:
        limit, period = (group / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_of_version_1(group: Path) -> float | None:
    try:
        limit_us = int((group / "cpu.cfs_quota_us").read_text())
        period_us = int((group / "cpu.cfs_period_us").read_text())
        return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(field: str) -> str:
    """Return a field of ``mountinfo``, in which white space is written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
