"""What the panel calls of each of its sections."""

from __future__ import annotations

from typing import Protocol


class Section(Protocol):
    """A part of the panel. One that inherits this class defines only what it has to do."""

    def refresh(self) -> None:
        """Show what the parameter node says."""

    def enter(self) -> None:
        """The module was opened: look anew at what may have changed meanwhile."""

    def close(self) -> None:
        """The module or the scene is closed: stop what runs, take temporary nodes away."""
