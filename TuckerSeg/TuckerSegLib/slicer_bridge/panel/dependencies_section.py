"""Dependencies: a banner when packages are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dependencies import missing_packages

if TYPE_CHECKING:
    from .panel import Panel


class DependenciesSection:
    """Says what is missing."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self._missing = missing_packages()

    @property
    def ready(self) -> bool:
        """Whether the worker can run."""
        return not self._missing

    def refresh(self) -> None:
        self._ui.dependencyFrame.visible = not self.ready

    def enter(self) -> None:
        self._missing = missing_packages()

    def close(self) -> None:
        """Nothing of it is temporary."""
