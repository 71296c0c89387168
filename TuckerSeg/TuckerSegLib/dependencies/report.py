"""What the worker needs, and what a check found of it in one Python.

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
        name: Distribution, as pip calls it.
        specifier: Versions that will do, as pip reads them.
        import_name: Module whose import proves that the package works.
        download_mb: Of the package and what only it brings, roughly; torch as its build for processors.
        purpose: What the worker does with it.
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
    """What was found of one required package.

    Attributes:
        version: None where it is not installed.
        error: Why it cannot be imported; empty where it can, or was not tried.
        culprit: Installed distribution that is broken, where ``error`` points to one; often another than ``name``.
        remnant: Folder of metadata without a list of files, which keeps pip from replacing the culprit.
        requires: What it requires in its turn, as its metadata says.
    """

    name: str
    version: str | None = None
    error: str = ""
    culprit: str | None = None
    remnant: str | None = None
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class DependencyReport:
    """What was found in one Python.

    Attributes:
        python: Its version; empty where it could not be run, then ``failure`` says why.
        machine: Architecture that it was built for, as :func:`platform.machine` gives it.
        site_packages: Folder that pip installs to.
        installed: Version of every distribution, by canonical name.
        packages: One state per requirement.
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
        return bool(self.python) and tuple(int(part) for part in self.python.split(".")[:2]) < MINIMUM_PYTHON

    @property
    def missing(self) -> tuple[PackageState, ...]:
        return tuple(state for state in self.packages if state.version is None)

    @property
    def broken(self) -> tuple[PackageState, ...]:
        """Installed, but cannot be imported."""
        return tuple(state for state in self.packages if state.version is not None and state.error)


def requirements() -> tuple[Requirement, ...]:
    """What the worker needs, in the order of ``Resources/requirements.txt``."""
    lines = REQUIREMENTS_FILE.read_text(encoding="utf-8").splitlines()
    found = []
    for line in filter(None, (line.strip() for line in lines)):
        if line.startswith("#"):
            continue
        requirement, _, remark = line.partition("#")
        name, specifier = re.match(r"([\w.-]+)(.*)", requirement.strip()).groups()
        module, size, purpose = (part.strip() for part in remark.split(";", 2))
        found.append(Requirement(name, specifier.strip(), module, int(size), purpose))
    return tuple(found)


def canonical(name: str) -> str:
    """A distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_report(lines: Iterable[str], exit_code: int = 0) -> DependencyReport:
    """Put the lines of one check together; lines that packages wrote are passed over.

    Args:
        lines: Standard output of the process.
        exit_code: How it ended. Where the last lines are missing, an import has ended it: that package is broken.
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
