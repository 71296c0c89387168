"""Plans an installation from a check's report, so that the user can read and confirm it before anything happens."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from ...dependencies.report import DependencyReport, Requirement, canonical, requirements
from .dependencies import check_dependencies, is_comparable, unmet
from .obstacles import find_obstacle, find_warnings, has_nvidia_card

TORCH_INDEX = "https://download.pytorch.org/whl/"
CUDA_DOWNLOAD_MB = 2900  # torch 2.15.0 for Linux from PyPI, with the libraries of CUDA 13
TORCH_COMPANIONS = ("cuda", "nvidia", "torchaudio", "torchvision", "triton")  # go with exactly one version of torch

EXTENSION_TEXT = "Slicer's extension PyTorch chooses the build of torch for this computer."
CUDA, PROCESSORS, FOLDER = "cuda", "processors", "folder"
_TORCH_TEXTS = {
    CUDA: "torch comes with its libraries for NVIDIA graphics cards.",
    PROCESSORS: "torch comes in its build for processors.",
    FOLDER: "torch comes in the build that lies in the folder.",
}


@dataclass(frozen=True)
class Repair:
    """A distribution that is there and cannot be imported, to be installed again in the same version.

    Attributes:
        index: Further index, for a build that PyPI has not.
    """

    name: str
    version: str
    index: str | None = None

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class InstallationPlan:
    """What will be installed, and how.

    Attributes:
        packages: Requirements that are missing, too old, or lack something that they need.
        repairs: What will be installed once more.
        remnants: Folders of metadata to remove first, because pip can neither use nor replace them.
        constraints: Lines for pip that pin all that is installed and shall stay as it is.
        torch_build: ``cuda``, ``processors`` or ``folder`` (what lies there).
        asks_extension: Slicer's extension PyTorch is there, and installs the build that it finds best.
        wheel_folder: Install from there, and use no network.
        download_mb: About so much, with what the packages need in their turn.
        obstacle: Why the plan cannot be carried out; empty where it can.
    """

    report: DependencyReport
    packages: tuple[Requirement, ...]
    repairs: tuple[Repair, ...]
    remnants: tuple[Path, ...]
    constraints: tuple[str, ...]
    torch_build: str
    asks_extension: bool
    wheel_folder: Path | None
    download_mb: int
    warnings: tuple[str, ...]
    obstacle: str

    @property
    def has_nothing_to_do(self) -> bool:
        return not self.packages and not self.repairs

    @property
    def installs_torch(self) -> bool:
        """Whether torch is among the packages; a repair keeps its build."""
        return any(item.name == "torch" for item in self.packages)

    @property
    def torch_index(self) -> str | None:
        """Index for torch, where that is not PyPI: only for Linux does PyPI have none but large builds for CUDA."""
        only_processors = self.torch_build == PROCESSORS and self.report.system == "Linux"
        return TORCH_INDEX + "cpu" if only_processors else None

    def text(self) -> str:
        """The question for the user: what, how much, from where, what stays, what may go wrong."""
        source = f"the folder {self.wheel_folder}, without network" if self.wheel_folder else "the internet"
        lines = [f"TuckerSeg will install Python packages into Slicer, from {source}:", ""]
        lines += [f"- {item} (about {_size_mb(item, self.torch_build)} MB): {item.purpose}" for item in self.packages]
        lines += [f"- {repair}, once more, because it cannot be imported" for repair in self.repairs]
        lines += ["", f"About {self.download_mb} MB in all, with what these packages need in their turn."]
        if self.installs_torch:
            lines.append(EXTENSION_TEXT if self.asks_extension else _TORCH_TEXTS[self.torch_build])
        changed = {item.name for item in (*self.packages, *self.repairs)}
        kept = [f"{state.name} {state.version}" for state in self.report.packages if state.name not in changed]
        if kept:
            lines.append(f"Already there: {', '.join(kept)}.")
        lines.append("Nothing that Slicer brings is changed.")
        lines += [f"\nWarning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, "", "Install now?"])


def plan_installation(
    report: DependencyReport | None = None, wheel_folder: Path | str | None = None
) -> InstallationPlan:
    """Decide what to install into Slicer's Python. Changes nothing.

    Args:
        report: A check of Slicer's own Python; None makes one and waits for it.
        wheel_folder: Folder of wheels to install from, without network.
    """
    report = report or check_dependencies()
    reasons = unmet(report.packages)
    repairs = _repairs(report)
    packages = tuple(item for item in requirements() if item.name in reasons and not _is_helped(item, report, repairs))
    asks_extension = wheel_folder is None and pytorch_extension() is not None
    torch_build = FOLDER if wheel_folder is not None else _torch_build(report, asks_extension)
    names = {canonical(item.name) for item in (*packages, *repairs)}
    download_mb = sum(_size_mb(item, torch_build) for item in requirements() if canonical(item.name) in names)
    uses_no_card = torch_build == PROCESSORS and any(item.name == "torch" for item in packages)
    return InstallationPlan(
        report=report,
        packages=packages,
        repairs=repairs,
        remnants=tuple({Path(state.remnant) for state in report.packages if state.remnant}),
        constraints=_constraints(report, packages),
        torch_build=torch_build,
        asks_extension=asks_extension,
        wheel_folder=Path(wheel_folder) if wheel_folder is not None else None,
        download_mb=download_mb,
        warnings=find_warnings(report, download_mb, uses_no_card),
        obstacle=find_obstacle(report),
    )


def pytorch_extension() -> Any | None:
    """Logic class of Slicer's extension PyTorch, where that is installed."""
    if not hasattr(slicer.modules, "pytorchutils"):
        return None
    return importlib.import_module("PyTorchUtils").PyTorchUtilsLogic


def _torch_build(report: DependencyReport, asks_extension: bool) -> str:
    """PyPI has builds for CUDA for Linux only; the extension knows where others are."""
    return CUDA if has_nvidia_card() and (asks_extension or report.system == "Linux") else PROCESSORS


def _size_mb(requirement: Requirement, torch_build: str) -> int:
    if requirement.name != "torch":
        return requirement.download_mb
    return CUDA_DOWNLOAD_MB if torch_build == CUDA else requirement.download_mb


def _repairs(report: DependencyReport) -> tuple[Repair, ...]:
    """Broken packages whose version is known; those without one are installed as if they were missing."""
    repairs = {}
    for culprit in filter(None, (state.culprit for state in report.packages)):
        version = report.installed.get(canonical(culprit), "")
        if is_comparable(version):
            _, _, build = version.partition("+")
            repairs[canonical(culprit)] = Repair(culprit, version, TORCH_INDEX + build if build else None)
    return tuple(repairs.values())


def _is_helped(requirement: Requirement, report: DependencyReport, repairs: Iterable[Repair]) -> bool:
    """Whether a requirement will be met once another package is installed or repaired."""
    culprit = next((state.culprit for state in report.packages if state.name == requirement.name), None)
    if culprit is None:
        return False
    others = {canonical(item.name) for item in requirements() if item.name != requirement.name}
    return canonical(culprit) in others | {canonical(repair.name) for repair in repairs}


def _constraints(report: DependencyReport, packages: Iterable[Requirement]) -> tuple[str, ...]:
    """One pin for each distribution that shall stay; what is planned, and what goes only with it, may move."""
    moving = {canonical(item.name) for item in packages}
    pins = []
    for name, version in sorted(report.installed.items()):
        companion = "torch" in moving and name.partition("-")[0] in TORCH_COMPANIONS
        if name not in moving and not companion and is_comparable(version):
            pins.append(f"{name}=={version}")
    return tuple(pins)
