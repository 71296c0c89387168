"""Makes the structures' terminology known to Slicer, so that segments show and export their standard names."""

from __future__ import annotations

import slicer

from ...catalog.structures import TERMINOLOGY_FILE


def register_terminology() -> None:
    """Load the terminology file. Called once, when the application has started."""
    module = getattr(slicer.modules, "terminologies", None)
    if module is not None:
        module.logic().LoadTerminologyFromFile(str(TERMINOLOGY_FILE))
