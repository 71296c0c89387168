"""How much main memory this computer has, and how much of it is free."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path


def system_memory_bytes() -> tuple[int | None, int | None]:
    """Total and available memory for this process, bytes; container limits count. None where unknown."""
    if sys.platform == "win32":
        return _windows_system_bytes()
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        total = None
    available = _meminfo_available_bytes()
    limit = _container_limit_bytes()
    if limit is not None and total is not None and limit < total:
        total, available = limit, None if available is None else min(limit, available)
    return total, available


def _meminfo_available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container_limit_bytes() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def _windows_system_bytes() -> tuple[int | None, int | None]:
    class Status(ctypes.Structure):  # MEMORYSTATUSEX of sysinfoapi.h
        _fields_ = [("dwLength", ctypes.c_ulong), ("dwMemoryLoad", ctypes.c_ulong)] + [
            (f"value_{index}", ctypes.c_ulonglong) for index in range(7)
        ]

    status = Status(dwLength=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.value_0, status.value_1
