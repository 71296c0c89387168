"""The panel as a whole: its sections, the parameter node that they follow, and the worker that they ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import slicer
import vtk
from slicer.util import VTKObservationMixin

from ...records.job import SMALL_BLOB_MM3, InferenceSpec
from ..client.segmentation_run import RunSettings
from ..client.session import Session
from ..client.worker_process import Event
from .advanced import AdvancedSection
from .comparing import ComparingSection
from .consequences import ConsequencesSection
from .dependencies_section import DependenciesSection
from .downloading import DownloadingSection
from .hardware import HardwareSection
from .importing import ImportingSection
from .inputs import InputsSection
from .models import ModelsSection
from .previewing import PreviewingSection
from .results import ResultsSection
from .running import RunningSection


class Section(Protocol):
    """A part of the panel."""

    def refresh(self) -> None:
        """Show what the parameter node says."""

    def enter(self) -> None:
        """The module was opened."""

    def close(self) -> None:
        """The module or the scene is closed: stop what runs, take temporary nodes away."""


class Panel(VTKObservationMixin):
    """All sections, and what they share.

    Args:
        ui: Widgets by their object names.
        session: The worker.
    """

    def __init__(self, ui: Any, session: Session):
        VTKObservationMixin.__init__(self)
        self.ui, self.session = ui, session
        self.parameters: Any = None
        self.model_facts: dict[str, Any] | None = None  # its labels and more, once they are known
        self._binding: Any = None
        self._refreshing = False
        self._crosshair_observed = False
        self.running = RunningSection(self)
        self.models = ModelsSection(self)
        self.importing = ImportingSection(self)
        self.inputs = InputsSection(self)
        self.downloading = DownloadingSection(self)
        self.consequences = ConsequencesSection(self)
        self.hardware = HardwareSection(self)
        self.previewing = PreviewingSection(self)
        self.results = ResultsSection(self)
        self.comparing = ComparingSection(self)
        self.advanced = AdvancedSection(self)
        self.dependencies = DependenciesSection(self)
        self.sections: tuple[Section, ...] = (
            self.models,
            self.importing,
            self.inputs,
            self.downloading,
            self.consequences,
            self.hardware,
            self.previewing,
            self.running,
            self.results,
            self.comparing,
            self.advanced,
            self.dependencies,
        )

    def _follow(self, parameters: Any) -> None:
        """Bind to a parameter node; None follows nothing, as while a scene is closed."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._binding)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        self.parameters = parameters
        if parameters is not None:
            self._binding = parameters.connectParametersToGui(bound_widgets(self.ui))
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_modified)

    def refresh(self) -> None:
        """Show what the parameter node says."""
        if self.parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            for section in self.sections:
                section.refresh()
        finally:
            self._refreshing = False

    def change(self, **fields: Any) -> None:
        """Write fields of the parameter node, unless the panel is only showing what they are."""
        if self.parameters is None or self._refreshing:
            return
        for name, value in fields.items():
            if getattr(self.parameters, name) != value:
                setattr(self.parameters, name, value)

    def ask(
        self,
        kind: str,
        on_result: Callable[[Event], None],
        on_error: Callable[[Event], None] | None = None,
        **fields: Any,
    ) -> None:
        """Ask the worker something that changes no scene; an error goes to the log unless somebody takes it."""
        if not self.dependencies.ready or self.parameters is None:
            return

        def receive(event: Event) -> None:
            if event["event"] == "result":
                on_result(event)
            elif event["event"] == "error":
                (on_error or self.running.log_error)(event)

        self.session.worker.request(kind, receive, **fields)

    def settings(self) -> RunSettings:
        """What the parameter node asks of a run.

        Raises:
            SpecError: A field is out of its range.
        """
        p = self.parameters
        inference = InferenceSpec(
            step_fraction=None if p.recommendedStep else round(p.stepFraction, 4),
            mirroring=p.mirroring,
            device=p.device,
            precision=p.precision,
            threads=p.threads or None,
            output_grid=p.outputGrid,
            skip_empty=p.skipEmpty,
            remove_blobs_mm3=SMALL_BLOB_MM3 if p.removeSmallBlobs else 0.0,
        )
        return RunSettings(
            p.model,
            round(p.rankRatio, 4),
            self.inputs.structures(),
            inference,
            p.standardNames,
            p.calibrate,
            p.refit,
            self.inputs.crop(),
        )

    def enter(self, parameters: Any) -> None:
        """The module was opened: follow a parameter node, and look anew at what may have changed meanwhile."""
        self._follow(parameters)
        for section in self.sections:
            section.enter()
        self.refresh()

    def close(self) -> None:
        """Follow nothing, stop everything, and leave nothing temporary in the scene."""
        self._follow(None)  # first: what is taken away now is not to be asked for again
        for section in self.sections:
            section.close()

    def _on_modified(self, caller: slicer.vtkMRMLNode, event: str) -> None:
        self.refresh()


def bound_widgets(ui: Any) -> dict[str, Any]:
    """Parameter name to the widget that is bound to it in the .ui file (``connectGui`` would give no tag back)."""
    named = ((widget.property("SlicerParameterName"), widget) for widget in vars(ui).values())
    return {name: widget for name, widget in named if name}
