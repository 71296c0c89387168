"""Installs the worker's packages into Slicer's Python, once the user has agreed.

What is installed already stays as it is: every pip run is held to a file of constraints that pins it. Where nnunetv2's
many requirements, most of them for training, cannot all be installed, those that segmentation imports are.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import slicer
from packaging.requirements import Requirement as PipRequirement

from ...dependencies.report import DependencyReport, canonical, requirements
from ...errors import DependencyError
from .dependencies import check_dependencies, is_ready, report_text
from .pip_failures import PipFailure, classify
from .pip_runner import pip_constrained_by, run_pip
from .plan import InstallationPlan, plan_installation, pytorch_extension

__all__ = ["InstallationPlan", "InstallationResult", "install", "plan_installation"]

Log = Callable[[str], None]

# What importing nnunetv2's plans and networks needs of all that nnunetv2 2.8.1 requires: found by blocking each.
NNUNET_PARTS = ("acvl-utils", "batchgenerators", "dynamic-network-architectures")  # without their own requirements
NNUNET_NEEDS = ("blosc2", "scikit-image", "threadpoolctl")
FAILURES_OF_FURTHER_PACKAGES = ("wheel", "build", "conflict")


@dataclass(frozen=True)
class InstallationResult:
    """What an installation did.

    Attributes:
        report: A check after it.
        changed: Distributions with another version than before, as ``name version``.
        loaded: Those of them, old version included, that this process has imported: Slicer must be restarted.
    """

    report: DependencyReport
    changed: tuple[str, ...]
    loaded: tuple[str, ...]

    @property
    def needs_restart(self) -> bool:
        return bool(self.loaded)

    @property
    def words(self) -> str:
        """What came of it, for the user."""
        text = "All packages that TuckerSeg needs are installed and work."
        if self.needs_restart:
            text += f" Restart Slicer: it still uses the former {', '.join(self.loaded)}."
        return text


def install(
    plan: InstallationPlan, confirm: Callable[[str], bool], on_log: Log = lambda line: None
) -> InstallationResult | None:
    """Ask once, install, and check what came of it. Waits; the application's events go on.

    Args:
        plan: Of :func:`plan_installation`.
        confirm: Shows a text and says whether the user agrees.
        on_log: Receives each line that pip writes.

    Returns:
        None where the user did not agree; then nothing has changed.

    Raises:
        DependencyError: Slicer is in its testing mode, the plan has an obstacle, pip failed, or what was installed
            does not work.
    """
    if slicer.app.testingEnabled():
        raise DependencyError("Slicer runs in its testing mode, in which nothing is installed. Start it without it.")
    if plan.obstacle:
        raise DependencyError(plan.obstacle)
    if plan.has_nothing_to_do:
        return InstallationResult(plan.report, (), ())
    if not confirm(plan.text()):
        return None
    with _constraints_file(plan.constraints) as constraints:
        try:
            _Installer(plan, constraints, on_log).carry_out()
        except _PipFailed as error:
            raise DependencyError(error.failure.message) from error
    report = check_dependencies()
    if not is_ready(report):
        raise DependencyError(
            "The packages were installed, but they cannot all be used. Restart Slicer and choose Install / Repair.\n"
            + report_text(report)
        )
    return _result(plan, report)


class _PipFailed(Exception):
    def __init__(self, failure: PipFailure):
        super().__init__(failure.message)
        self.failure = failure


class _Installer:
    """Runs pip, step by step."""

    def __init__(self, plan: InstallationPlan, constraints: Path, on_log: Log):
        self._plan, self._constraints, self._on_log = plan, constraints, on_log

    def carry_out(self) -> None:
        self._repair()
        if self._plan.installs_torch:
            self._install_torch()
        try:
            self._install_all()
        except _PipFailed as error:
            if not self._can_do_with_less(error.failure):
                raise
            self._on_log(f"{error.failure.message} Segmentation does without it: only what it needs is installed.")
            self._install_needed()

    def _repair(self) -> None:
        for remnant in self._plan.remnants:
            self._on_log(f"Removing {remnant}, which a half installation has left")
            shutil.rmtree(remnant)
        for repair in self._plan.repairs:
            index = ["--extra-index-url", repair.index] if repair.index else []
            self._pip("--force-reinstall", "--no-deps", str(repair), *index)

    def _install_torch(self) -> None:
        (torch,) = (item for item in self._plan.packages if item.name == "torch")
        if self._plan.asks_extension and self._extension_installs(torch.specifier):
            return
        self._pip(str(torch), *self._index("--index-url"))

    def _extension_installs(self, specifier: str) -> bool:
        self._on_log("Slicer's extension PyTorch installs torch")
        try:
            with pip_constrained_by(self._constraints):
                return (
                    pytorch_extension()().installTorch(askConfirmation=False, torchVersionRequirement=specifier)
                    is not None
                )
        except Exception as error:  # somebody else's code, whose interface has changed before
            self._on_log(f"The extension failed ({type(error).__name__}: {error}); pip installs torch instead")
            return False

    def _install_all(self) -> None:
        repaired = {canonical(repair.name) for repair in self._plan.repairs}
        wanted = [item for item in requirements() if item in self._plan.packages or canonical(item.name) in repaired]
        if wanted:
            self._pip(*map(str, wanted), *self._index("--extra-index-url"))

    def _can_do_with_less(self, failure: PipFailure) -> bool:
        """Whether it failed at something that only nnunetv2's training needs."""
        needed = {*NNUNET_PARTS, *NNUNET_NEEDS, *(canonical(item.name) for item in requirements())}
        return (
            any(item.name == "nnunetv2" for item in self._plan.packages)
            and failure.kind in FAILURES_OF_FURTHER_PACKAGES
            and (failure.kind == "conflict" or (failure.wheel is not None and canonical(failure.wheel) not in needed))
        )

    def _install_needed(self) -> None:
        """nnunetv2 without its requirements, and then those of them that segmentation imports."""
        by_name = {item.name: str(item) for item in self._plan.packages}
        self._pip("--no-deps", by_name.pop("nnunetv2"))
        specifiers = _specifiers(check_dependencies())
        self._pip("--no-deps", *(name + specifiers.get(name, "") for name in NNUNET_PARTS))
        self._pip(*by_name.values(), *(name + specifiers.get(name, "") for name in NNUNET_NEEDS))

    def _index(self, option: str) -> list[str]:
        index = self._plan.torch_index if self._plan.installs_torch else None
        return [option, index] if index else []

    def _pip(self, *arguments: str) -> None:
        folder = self._plan.wheel_folder
        source = ["--no-index", "--find-links", str(folder)] if folder is not None else []
        options = ["--prefer-binary", "--no-input", "--disable-pip-version-check", "-c", str(self._constraints)]
        self._on_log("pip install " + " ".join(arguments))
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            self._on_log(line)

        if run_pip([*arguments, *source, *options], on_line) != 0:
            raise _PipFailed(classify(lines, offline=folder is not None))


def _specifiers(report: DependencyReport) -> dict[str, str]:
    """Which versions of its parts the installed nnunetv2 wants."""
    (state,) = (state for state in report.packages if state.name == "nnunetv2")
    parsed = [PipRequirement(text) for text in state.requires]
    return {canonical(item.name): str(item.specifier) for item in parsed if item.marker is None}


@contextmanager
def _constraints_file(lines: tuple[str, ...]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="TuckerSeg-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield path


def _result(plan: InstallationPlan, report: DependencyReport) -> InstallationResult:
    before, after = plan.report.installed, report.installed
    changed = [name for name, version in after.items() if before.get(name) != version]
    replaced = {name for name in changed if name in before} | {canonical(item.name) for item in plan.repairs}
    modules = metadata.packages_distributions().items()
    imported = {canonical(name) for module, names in modules if module in sys.modules for name in names}
    return InstallationResult(
        report=report,
        changed=tuple(f"{name} {after[name]}" for name in changed),
        loaded=tuple(sorted(replaced & imported)),
    )
