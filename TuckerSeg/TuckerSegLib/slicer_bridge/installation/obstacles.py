"""Finds what would prevent or disturb an installation, before it begins. Changes nothing."""

from __future__ import annotations

import contextlib
import shutil
import sys

from packaging.version import InvalidVersion, Version

from ...dependencies.report import MINIMUM_PYTHON, DependencyReport
from .dependencies import unmet

SHIPPED_WITH_SLICER = ("numpy", "scipy", "SimpleITK")
LONGEST_PATH = 259  # MAX_PATH of Windows without its ending zero
LONGEST_IN_A_WHEEL = 175  # torch 2.13.0's licenses of third parties, inside site-packages
DISK_PER_DOWNLOAD = 5  # measured: 4.2 times the wheels' size when unpacked, and the wheels themselves


def find_obstacle(report: DependencyReport) -> str:
    """Why nothing can be installed into the Python that was checked; empty where it can."""
    if report.failure:
        return report.failure
    if report.python_is_too_old:
        needed = ".".join(str(part) for part in MINIMUM_PYTHON)
        return f"Python {needed} or newer is needed, and this is Python {report.python}. Use Slicer 5.10 or newer."
    reasons = unmet(report.packages)
    for name in SHIPPED_WITH_SLICER:
        if name in reasons and name.lower() in report.installed and "needed" in reasons[name]:
            return f"{name}: {reasons[name]}. It belongs to Slicer and is never changed. Use a newer Slicer."
    if _is_intel_mac(report) and _numpy_major(report) >= 2 and "torch" in reasons:
        return (
            "The newest PyTorch for Mac computers with an Intel processor, which this Slicer is built for, is 2.2.2; "
            f"it cannot work with the numpy {report.installed['numpy']} that Slicer brings. On a Mac with an Apple "
            "processor, install the packages in a Python for arm64 and choose it under Advanced, Python."
        )
    return ""


def find_warnings(report: DependencyReport, download_mb: int, torch_is_for_processors: bool) -> tuple[str, ...]:
    """Warnings for the user before an installation.

    Args:
        download_mb: Size of all that will be downloaded.
        torch_is_for_processors: PyTorch will be installed in the build that uses no graphics card.
    """
    warnings = (
        _long_paths(report.site_packages),
        _disk(report.site_packages, download_mb),
        _unused_graphics_card(torch_is_for_processors),
    )
    return tuple(filter(None, warnings))


def has_nvidia_card() -> bool:
    """Whether the driver of an NVIDIA graphics card is installed."""
    return shutil.which("nvidia-smi") is not None


def long_paths_are_enabled() -> bool:
    """Whether Windows lets programs use paths of more than 259 characters; elsewhere they always may."""
    if sys.platform != "win32":
        return True
    import winreg

    path = r"SYSTEM\CurrentControlSet\Control\FileSystem"
    with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
        return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    return False


def _long_paths(site_packages: str) -> str:
    length = len(site_packages) + 1 + LONGEST_IN_A_WHEEL
    if long_paths_are_enabled() or length <= LONGEST_PATH:
        return ""
    return (
        f"Windows allows paths of {LONGEST_PATH} characters, and PyTorch's would have {length} in {site_packages}: the "
        "installation would stop half way. Either install Slicer in a short folder such as C:\\Slicer, or enable long "
        "paths: as administrator, run in PowerShell 'New-ItemProperty -Path HKLM:\\SYSTEM\\CurrentControlSet\\Control\\"
        "FileSystem -Name LongPathsEnabled -Value 1 -PropertyType DWORD -Force', then restart Slicer."
    )


def _disk(site_packages: str, download_mb: int) -> str:
    try:
        free_mb = shutil.disk_usage(site_packages).free / 1e6
    except OSError:
        return ""
    needed_mb = download_mb * DISK_PER_DOWNLOAD
    if free_mb >= needed_mb:
        return ""
    return f"About {needed_mb:.0f} MB are needed on the disk of {site_packages}, and {free_mb:.0f} MB are free."


def _unused_graphics_card(torch_is_for_processors: bool) -> str:
    if not (torch_is_for_processors and has_nvidia_card()):
        return ""
    return (
        "This computer has an NVIDIA graphics card, which this build of PyTorch does not use. To use it, install "
        "Slicer's extension PyTorch first, then come back."
    )


def _is_intel_mac(report: DependencyReport) -> bool:
    return report.system == "Darwin" and report.machine == "x86_64"


def _numpy_major(report: DependencyReport) -> int:
    try:
        return Version(report.installed.get("numpy", "")).major
    except InvalidVersion:
        return 0
