"""Finds out which of the Python packages that the worker needs are installed, missing or broken.

A quick look reads metadata only; a check imports each package in a process of its own, because a broken one can end
the process that imports it. Installs nothing: see :mod:`.installation`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import replace

import qt
import slicer
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ...dependencies.check import find_package
from ...dependencies.report import (
    MINIMUM_PYTHON,
    DependencyReport,
    PackageState,
    Requirement,
    read_report,
    requirements,
)
from .python_environment import python_environment, python_executable

__all__ = [
    "DependencyCheck",
    "DependencyReport",
    "PackageState",
    "Requirement",
    "check_dependencies",
    "is_comparable",
    "is_ready",
    "missing_packages",
    "presence",
    "report_text",
    "requirements",
    "unmet",
]


def presence() -> tuple[PackageState, ...]:
    """A quick look into this Python, without importing anything: what is listed, and whether its files are there."""
    return tuple(_look_for(requirement) for requirement in requirements())


def missing_packages() -> list[str]:
    """Packages that are not there, too old or without their files, by name; nothing is imported."""
    return list(unmet(presence()))


def unmet(states: Iterable[PackageState]) -> dict[str, str]:
    """Requirements that are not met: name to the reason, in words."""
    state_of = {state.name: state for state in states}
    reasons = {}
    for requirement in requirements():
        state = state_of.get(requirement.name, PackageState(requirement.name))
        if state.error:
            reasons[requirement.name] = state.error
        elif state.version is None:
            reasons[requirement.name] = "not installed"
        elif not _satisfies(state.version, requirement.specifier):
            reasons[requirement.name] = f"{state.version} is installed, {requirement.specifier} is needed"
    return reasons


def is_ready(report: DependencyReport) -> bool:
    """Whether the worker can run in the Python that was checked."""
    return not report.failure and not report.python_is_too_old and not unmet(report.packages)


def is_comparable(version: str) -> bool:
    """Whether pip can read a version; some builds of the application's own have others, and are taken as they are."""
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def report_text(report: DependencyReport) -> str:
    """A check's result for the user: one line for the Python, and one per package."""
    if report.failure:
        return report.failure
    reasons = unmet(report.packages)
    lines = [f"Python {report.python} ({report.system} {report.machine}), {report.executable}"]
    if report.python_is_too_old:
        lines.append("This Python is too old: {}.{} or newer is needed.".format(*MINIMUM_PYTHON))
    for state in report.packages:
        line = f"{state.name} {state.version}" if state.version else state.name
        lines.append(f"{line}: {reasons[state.name]}" if state.name in reasons else line)
    return "\n".join(lines)


def check_dependencies(python: str | None = None) -> DependencyReport:
    """Check and wait for the result; the application's events go on."""
    reports: list[DependencyReport] = []
    check = DependencyCheck(reports.append, python)
    check.start()
    while not reports:
        slicer.app.processEvents()
        check.wait(50)
    return reports[0]


class DependencyCheck:
    """Imports the packages in a child process, without blocking.

    Args:
        on_report: Receives the result, once per :meth:`start`; not after :meth:`stop`.
        python: Another Python than Slicer's own, by its path.
    """

    def __init__(self, on_report: Callable[[DependencyReport], None], python: str | None = None):
        self._on_report = on_report
        self._python = python
        self._process: qt.QProcess | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it, unless it runs. Returns at once."""
        if self._process is not None:
            return
        process = qt.QProcess(slicer.app)  # without a parent it would be deleted while its own signal is handled
        process.setProcessEnvironment(python_environment(external=self._python is not None))
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)
        self._process = process
        process.start(self._python or python_executable(), ["-m", "TuckerSegLib.dependencies.check"])

    def stop(self) -> None:
        """End it without a result."""
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            process.kill()
            process.waitForFinished(2000)
            process.deleteLater()

    def wait(self, milliseconds: int) -> None:
        """Wait for its end, at most so long; for a script that has no event loop of its own."""
        if self._process is not None:
            self._process.waitForFinished(milliseconds)

    def _on_finished(self, exit_code: int = 0, exit_status: object = None) -> None:
        if self._process is None:
            return
        output = self._process.readAllStandardOutput().data()
        said = self._process.readAllStandardError().data()
        report = read_report(_text(output).splitlines(), exit_code)
        if report.failure:
            last = _text(said).strip().splitlines()[-1:]
            report = replace(report, failure=" ".join([report.failure, *last]))
        self._end(report)

    def _on_error(self, error: object = None) -> None:
        """Only for a process that never started; one that ends later reports through ``finished``."""
        if self._process is None or self._process.error() != qt.QProcess.FailedToStart:
            return
        python = self._python or python_executable()
        self._end(DependencyReport(failure=f"{python} could not be started: {self._process.errorString()}."))

    def _end(self, report: DependencyReport) -> None:
        process, self._process = self._process, None
        process.blockSignals(True)
        process.deleteLater()
        self._on_report(report)


def _look_for(requirement: Requirement) -> PackageState:
    state = find_package(requirement)
    spec = importlib.util.find_spec(requirement.import_name.partition(".")[0])
    has_code = spec is not None and spec.origin is not None
    if state.version is not None and not has_code:
        return replace(state, error="its files are gone (a half installation)", culprit=requirement.name)
    if state.version is None and has_code:  # built into the application, without metadata
        return replace(state, version="unknown")
    return state


def _satisfies(version: str, specifier: str) -> bool:
    return not is_comparable(version) or SpecifierSet(specifier).contains(version, prereleases=True)


def _text(data: object) -> str:
    return (data if isinstance(data, bytes) else bytes(data)).decode("utf-8", "replace")
