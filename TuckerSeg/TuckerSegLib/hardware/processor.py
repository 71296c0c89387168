"""The processor: its name, and how many threads a run may take."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def processor_name() -> str:
    """Model name as the user knows it."""
    if sys.platform.startswith("linux"):
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _sysctl_text("machdep.cpu.brand_string") or platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def default_threads() -> int:
    """Physical cores that this process may use; one of them is left free when there are more than two."""
    available = _logical_processors()
    physical = _physical_cores()
    cores = min(len(available), physical or len(available), _container_cores() or len(available))
    return max(1, cores if cores <= 2 else cores - 1)


def _logical_processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores() -> int | None:
    """Distinct cores among the processors that this process may use; None where unknown."""
    if sys.platform == "darwin":
        # Performance cores only: work is split evenly, and the slow ones would hold the others up.
        count = _sysctl_text("hw.perflevel0.physicalcpu") or _sysctl_text("hw.physicalcpu")
        return int(count) if count else None
    if not sys.platform.startswith("linux"):
        return None  # OpenVINO itself takes one thread per core
    cores = set()
    for index in _logical_processors():
        topology = Path(f"/sys/devices/system/cpu/cpu{index}/topology")
        try:
            cores.add(((topology / "physical_package_id").read_text(), (topology / "core_id").read_text()))
        except OSError:
            return None
    return len(cores)


def _container_cores() -> int | None:
    """Whole cores that a container's time quota amounts to; None without a quota."""
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()  # version 1
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota.strip() in ("max", "-1"):
        return None
    return max(1, int(quota) // int(period))


def _sysctl_text(name: str) -> str:
    import subprocess

    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, encoding="utf-8", timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
