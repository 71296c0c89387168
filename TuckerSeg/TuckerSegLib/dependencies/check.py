"""Checks which of the worker's packages a Python has, and whether each can be imported.

``python -m TuckerSegLib.dependencies.check`` runs in a process of its own, with the Python that shall run the worker
and with nothing installed there: standard library only. An import can end the whole process, so each finding is written
as soon as it is known, one JSON object per line. Installs nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from .report import PackageState, Requirement, canonical, requirements


def find_package(requirement: Requirement) -> PackageState:
    """The state of a package by its metadata alone, without importing it."""
    distribution = _distribution(requirement.name)
    if distribution is None:
        return PackageState(requirement.name)
    return PackageState(
        requirement.name,
        _version(distribution) or "unknown",
        requires=tuple(_quietly(lambda: distribution.requires) or ()),
    )


def try_import(requirement: Requirement, state: PackageState) -> PackageState:
    """Import a package; the state, with the reason and the package at fault where that fails."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            importlib.import_module(requirement.import_name)
    except BaseException as error:  # whatever it is: that it cannot be imported is the finding
        return _explain_failure(state, requirement, error)
    module = sys.modules[requirement.import_name.partition(".")[0]]
    if getattr(module, "__file__", None) is None:
        return _broken(state, "only a folder without its code is left of it", requirement.name)
    if state.version is None:  # built into the application, without metadata
        return replace(state, version=str(getattr(module, "__version__", "unknown")))
    return state


def _explain_failure(state: PackageState, requirement: Requirement, error: BaseException) -> PackageState:
    top = requirement.import_name.partition(".")[0]
    named = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if isinstance(error, ModuleNotFoundError) and named == top and state.version is None:
        return state
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    culprit = _owner(named) if named else _owner(_deepest_package(error))
    if culprit is None and isinstance(error, ModuleNotFoundError) and named != top:
        return replace(state, error=f"it needs {named}, which is not installed")
    return _broken(state, text, culprit or requirement.name)


def _broken(state: PackageState, error: str, culprit: str) -> PackageState:
    return replace(state, error=error, culprit=culprit, remnant=_remnant(culprit))


def _deepest_package(error: BaseException) -> str:
    """Top-level package of the deepest code that took part in a failure."""
    folders = {Path(sysconfig.get_path(key)) for key in ("purelib", "platlib")}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for folder in folders:
            with contextlib.suppress(ValueError):
                return Path(frame.filename).relative_to(folder).parts[0].partition(".")[0]
    return ""


def _owner(top: str) -> str | None:
    """Distribution that a top-level module belongs to, even where its files are gone."""
    if not top:
        return None
    if (distribution := _distribution(top)) is not None:
        return _quietly(lambda: distribution.metadata["Name"]) or top
    return next(iter(_quietly(metadata.packages_distributions).get(top, ())), None)


def _remnant(name: str) -> str | None:
    """Metadata without a list of files: what an unpacking that was cut short leaves behind."""
    distribution = _distribution(name)
    folder = Path(distribution.locate_file("")) if distribution is not None else Path(sysconfig.get_path("purelib"))
    for path in folder.glob("*.dist-info"):
        if canonical(path.name.partition("-")[0]) == canonical(name) and not os.path.exists(path / "RECORD"):
            return str(path)
    return None


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _version(distribution: metadata.Distribution) -> str | None:
    return _quietly(lambda: distribution.version)


def _quietly(read: Callable[[], Any]) -> Any:
    """Read a piece of metadata; None where it is damaged, which raises all kinds of errors."""
    with contextlib.suppress(Exception):
        return read()
    return None


def _installed() -> dict[str, str]:
    """Version of every installed distribution, by canonical name."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name, version = _quietly(lambda installed=distribution: installed.metadata["Name"]), _version(distribution)
        if name and version:
            versions.setdefault(canonical(name), version)  # the first on the path is the one that is imported
    return versions


def _write(kind: str, **fields: Any) -> None:
    print("\n" + json.dumps({"kind": kind, **fields}), flush=True)  # imports may leave half a line behind


def main() -> None:
    """Check this Python and write the findings to standard output, one JSON object per line."""
    _write(
        "python",
        executable=sys.executable,
        python=platform.python_version(),
        system=platform.system(),
        machine=platform.machine(),
        site_packages=sysconfig.get_path("purelib"),
        installed=_installed(),
    )
    states = {requirement: find_package(requirement) for requirement in requirements()}
    for state in states.values():
        _write("package", **asdict(state))
    for requirement, state in states.items():
        _write("trying", name=state.name)
        _write("package", **asdict(try_import(requirement, state)))
    _write("end")


if __name__ == "__main__":
    main()
