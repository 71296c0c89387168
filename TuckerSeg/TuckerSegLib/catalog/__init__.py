"""The catalog: tasks and their networks, structures and their codes, and the files that come with the program."""

from __future__ import annotations

from .entries import (
    Part,
    Task,
    known_models,
    resampling_convention,
    shipped_agreement,
    step_fraction,
    task,
    tasks,
    warning,
)
from .resources import DEMO_VOLUME, RESOURCES

__all__ = [
    "DEMO_VOLUME",
    "RESOURCES",
    "Part",
    "Task",
    "known_models",
    "resampling_convention",
    "shipped_agreement",
    "step_fraction",
    "task",
    "tasks",
    "warning",
]
