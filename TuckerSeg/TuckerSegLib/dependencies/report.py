"""The packages that the worker needs, and the report of a check on one Python.

Standard library only, and any Python that a user may name must be able to read it: also one that is too old.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalog.resources import RESOURCES
from ..text_files import parse_json

MINIMUM_PYTHON = (3, 11)
REQUIREMENTS_FILE = RESOURCES / "requirements.txt"


@dataclass(frozen=True)
class Requirement:
    """One line of ``Resources/requirements.txt``.

    Attributes:
        name: Name of the distribution, for pip.
        specifier: Accepted versions, as pip reads them.
        import_name: Module whose import proves that the package works.
        download_mb: Approximate size of the package and of those that only it needs; for torch, of its CPU build.
        purpose: What the worker uses it for.
    """

    name: str
    specifier: str
    import_name: str
    download_mb: int
    purpose: str

    def __str__(self) -> str:
        return self.name + self.specifier


@dataclass(frozen=True)
class PackageState:
    """State of one required package in one Python.

    Attributes:
        name: Name of the distribution.
        version: Installed version; None where it is not installed.
        error: Why it cannot be imported; empty where it can, or was not tried.
        culprit: The installed distribution that is broken, where ``error`` shows one; often another than ``name``.
        remnant: A folder of metadata without a list of files, which keeps pip from replacing the culprit.
        requires: The packages that it requires, as its metadata lists them.
    """

    name: str
    version: str | None = None
    error: str = ""
    culprit: str | None = None
    remnant: str | None = None
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class DependencyReport:
    """Result of a check on one Python.

    Attributes:
        executable: Path of the Python.
        python: Its version; empty where it could not be run.
        system, machine: Operating system and architecture, as :mod:`platform` names them.
        site_packages: The folder that pip installs to.
        installed: Version of every installed distribution, by canonical name.
        packages: One state per requirement.
        failure: Why the Python could not be run; empty where it could.
    """

    executable: str = ""
    python: str = ""
    system: str = ""
    machine: str = ""
    site_packages: str = ""
    installed: dict[str, str] = field(default_factory=dict)
    packages: tuple[PackageState, ...] = ()
    failure: str = ""

    @property
    def python_is_too_old(self) -> bool:
        """Whether the Python that was asked is older than the oldest one that is supported."""
        return bool(self.python) and tuple(int(part) for part in self.python.split(".")[:2]) < MINIMUM_PYTHON

    @property
    def missing(self) -> tuple[PackageState, ...]:
        """The packages that are not installed."""
        return tuple(state for state in self.packages if state.version is None)

    @property
    def broken(self) -> tuple[PackageState, ...]:
        """Packages that are installed but cannot be imported."""
        return tuple(state for state in self.packages if state.version is not None and state.error)


def requirements() -> tuple[Requirement, ...]:
    """The packages that the worker needs, in the order of ``Resources/requirements.txt``."""
    lines = REQUIREMENTS_FILE.read_text(encoding="utf-8").splitlines()
    listed = []
    for line in filter(None, (line.strip() for line in lines)):
        if line.startswith("#"):
            continue
        requirement, _, remark = line.partition("#")
        name, specifier = re.match(r"([\w.-]+)(.*)", requirement.strip()).groups()
        module, size, purpose = (part.strip() for part in remark.split(";", 2))
        listed.append(Requirement(name, specifier.strip(), module, int(size), purpose))
    return tuple(listed)


def canonical(name: str) -> str:
    """A distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_report(lines: Iterable[str], exit_code: int = 0) -> DependencyReport:
    """Read the output of one check; lines that packages wrote themselves are skipped.

    Args:
        lines: Standard output of the process.
        exit_code: The process's exit code. Where the last lines are missing, the import of a package has ended the
            process, and that package is reported as broken.
    """
    report, states, trying, complete = DependencyReport(), {}, None, False
    for line in lines:
        event = _event(line)
        kind = event.pop("kind", None)
        if kind == "python":
            report = DependencyReport(**event)
        elif kind == "package":
            states[event["name"]] = PackageState(**{**event, "requires": tuple(event["requires"])})
        elif kind == "trying":
            trying = event["name"]
        complete = complete or kind == "end"
    if not report.python:
        return replace(report, failure=f"The check ended without a result (exit code {exit_code}).")
    if not complete and trying in states:
        error = f"importing it ends Python (exit code {exit_code})"
        states[trying] = replace(states[trying], error=error, culprit=states[trying].name)
    return replace(report, packages=tuple(states.values()))


def _event(line: str) -> dict[str, Any]:
    try:
        event = parse_json(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
