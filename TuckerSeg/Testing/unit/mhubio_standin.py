"""A thin stand-in for ``mhubio.core``, for runners only: it hands them files and keeps what they log.

It is not mhubio; ``Testing/peers/test_mhub.py`` runs the same runners with mhubio's own classes where these are.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path


class Instance:
    """One CT of a run."""


@dataclass
class InstanceData:
    """A file of an instance."""

    abspath: str


@dataclass
class Output:
    """What a runner declares to write: file name and data type."""

    path: str
    dtype: str


class Module:
    """What runners are; settings come from ``IO.Config``, others are given."""

    def __init__(self, **settings):
        self.told: list[str] = []
        for name, value in settings.items():
            assert name in self.declared, f"{name} is no setting of {type(self).__name__}"
            setattr(self, name, value)

    def log(self, *words):
        self.told.append(" ".join(map(str, words)))


class IO:
    """The decorators of mhubio that runners use; they only remember what is declared."""

    @staticmethod
    def Config(name, kind, default, the):
        def declare(runner):
            assert runner.__annotations__[name] is kind and isinstance(default, kind) and the
            runner.declared = {*getattr(runner, "declared", ()), name}
            setattr(runner, name, default)
            return runner

        return declare

    @staticmethod
    def Instance():
        return lambda task: task

    @staticmethod
    def Input(name, dtype, the):
        def declare(task):
            task.inputs = {**getattr(task, "inputs", {}), name: dtype}
            return task

        return declare

    @staticmethod
    def Output(name, path, dtype, bundle, data, the):
        def declare(task):
            task.outputs = {name: Output(path, dtype), **getattr(task, "outputs", {})}
            return task

        return declare


def run(runner: Module, source: Path, folder: Path) -> dict[str, Path]:
    """Let a runner do its task on a file; returns where it was to write what."""
    task = type(runner).task
    (source_name,) = task.inputs
    written = {name: folder / output.path for name, output in task.outputs.items()}
    files = {name: InstanceData(str(path)) for name, path in written.items()}
    task(runner, instance=Instance(), **{source_name: InstanceData(str(source))}, **files)
    return written


def modules() -> dict[str, types.ModuleType]:
    """What ``sys.modules`` has to hold for runners to be imported."""
    package, core = types.ModuleType("mhubio"), types.ModuleType("mhubio.core")
    core.IO, core.Instance, core.InstanceData, core.Module = IO, Instance, InstanceData, Module
    return {"mhubio": package, "mhubio.core": core}
