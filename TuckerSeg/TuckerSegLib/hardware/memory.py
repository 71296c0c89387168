"""Memory of this process, and an allocator that keeps large tensors.

glibc returns every freed block above 32 MiB to the system; a network's intermediate tensors are larger, so each
operation pays for fresh, zeroed pages. Source: mallopt(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
# What glibc comes to by itself once large blocks were freed, where no threshold was ever set: mallopt(3)
_USUAL_MMAP_BYTES, _USUAL_TRIM_BYTES, _USUAL_MMAP_MAX = 32 << 20, 64 << 20, 65536
_holders = 0


def keep_freed_memory() -> bool:
    """Keep freed blocks in the process instead of returning them; False where the C library cannot.

    Every call is to be matched by one of :func:`return_freed_memory`.
    """
    global _holders
    library = _glibc()
    if library is None:
        return False
    _holders += 1
    # A threshold above 32 MiB is refused; forbidding mmap for blocks altogether is not.
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, -1))


def return_freed_memory() -> None:
    """Undo one call of :func:`keep_freed_memory`; the last one returns free memory to the system."""
    global _holders
    library = _glibc()
    if library is None:
        return
    _holders = max(0, _holders - 1)
    if _holders == 0:
        use_usual_thresholds()
    trim_memory()


def use_usual_thresholds() -> None:
    """Return freed memory as late as a process does that nobody has told otherwise.

    Dask starts its workers with MALLOC_TRIM_THRESHOLD_ at 64 KiB: whatever is freed goes back to the system at once,
    and the next tensor pays for fresh pages, a tenth of a small image's time. Does nothing while freed memory is kept.
    """
    library = _glibc()
    if library is not None and _holders == 0:
        library.mallopt(_M_MMAP_MAX, _USUAL_MMAP_MAX)
        library.mallopt(_M_MMAP_THRESHOLD, _USUAL_MMAP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM_BYTES)


def trim_memory() -> None:
    """Return free memory to the system; else small blocks between large free ones keep a tenth of a run's memory."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed blocks for as long as the context lasts."""
    keep_freed_memory()
    try:
        yield
    finally:
        return_freed_memory()


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None


def peak_memory_bytes() -> int:
    """Largest resident memory that this process has had so far, in bytes."""
    if sys.platform == "win32":
        return _windows_process_counters().PeakWorkingSetSize
    # Not getrusage: on Linux its maximum includes what the parent held when it started this process.
    peak = _process_status_bytes("VmHWM")
    if peak is not None:
        return peak
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes on macOS, KiB on Linux


def forget_peak_memory() -> bool:
    """Let :func:`peak_memory_bytes` begin anew with what is held now; False where the system cannot do that."""
    try:
        resets = Path("/proc/self/clear_refs")
        resets.write_text("5", encoding="utf-8")  # proc(5)
    except OSError:
        return False
    return True


def held_memory_bytes() -> int:
    """Resident memory of this process now, in bytes; its peak where only that is known."""
    if sys.platform == "win32":
        return _windows_process_counters().WorkingSetSize
    return _process_status_bytes("VmRSS") or peak_memory_bytes()


def _process_status_bytes(name: str) -> int | None:
    """A line of proc(5)'s status of this process; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _windows_process_counters() -> ctypes.Structure:
    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS of psapi.h
        _fields_ = [("cb", ctypes.c_ulong), ("PageFaultCount", ctypes.c_ulong)] + [
            (name, ctypes.c_size_t)
            for name in (
                "PeakWorkingSetSize",
                "WorkingSetSize",
                "QuotaPeakPagedPoolUsage",
                "QuotaPagedPoolUsage",
                "QuotaPeakNonPagedPoolUsage",
                "QuotaNonPagedPoolUsage",
                "PagefileUsage",
                "PeakPagefileUsage",
            )
        ]

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.K32GetProcessMemoryInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong]
    if not kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        raise ctypes.WinError(ctypes.get_last_error())
    return counters
