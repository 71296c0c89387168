"""The panel as a whole: its sections, the parameter node that they follow, and the worker that they ask."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..client.session import Session
from ..scene.statistics_nodes import remove_lost_tables, remove_tables
from .advanced import AdvancedSection
from .batch_section import BatchSection
from .bound_widgets import BoundWidgets
from .comparing import ComparingSection
from .consequences import ConsequencesSection
from .context import PanelContext
from .dependencies_section import DependenciesSection
from .downloading import DownloadingSection
from .export_section import ExportSection
from .hardware import HardwareSection
from .importing import ImportingSection
from .inputs import InputsSection
from .item_views import show_check_boxes
from .labels import follow_theme, labels_of
from .models import ModelsSection
from .output import OutputSection
from .previewing import PreviewingSection
from .results import ResultsSection
from .running import RunningSection
from .section import Section
from .surfaces_section import SurfacesSection


class Panel(VTKObservationMixin):
    """All sections, and the parameter node that they follow.

    Args:
        ui: Widgets by their object names.
        session: The worker.
    """

    def __init__(self, ui: Any, session: Session):
        VTKObservationMixin.__init__(self)
        self.ui, self.session = ui, session
        self.context = context = PanelContext(ui, session)
        self.paused = False
        self.running = RunningSection(context)
        self.models = ModelsSection(context)
        self.importing = ImportingSection(context)
        self.inputs = InputsSection(context)
        self.output = OutputSection(context)
        self.downloading = DownloadingSection(context)
        self.consequences = ConsequencesSection(context)
        self.hardware = HardwareSection(context)
        self.previewing = PreviewingSection(context)
        self.results = ResultsSection(context)
        self.export = ExportSection(context)
        self.surfaces = SurfacesSection(context)
        self.comparing = ComparingSection(context)
        self.batch = BatchSection(context)
        self.advanced = AdvancedSection(context)
        self.dependencies = DependenciesSection(context)
        self.sections: tuple[Section, ...] = (
            BoundWidgets(context),  # first: others read what these show
            self.models,
            self.importing,
            self.inputs,
            self.downloading,
            self.consequences,
            self.hardware,
            self.previewing,
            self.running,
            self.results,
            self.export,
            self.surfaces,
            self.comparing,
            self.batch,
            self.advanced,
            self.dependencies,
        )
        for section in self.sections:
            context.changed.connect(section.refresh)
        context.changed.connect(self._follow_theme)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._on_removal)
        context.packages_changed.connect(lambda: self.enter(context.parameters))

    def _follow_theme(self) -> None:
        follow_theme(labels_of(self.ui))
        for view in (self.ui.structureList, self.ui.comparePoliciesList):
            show_check_boxes(view)

    def follow(self, parameters: Any) -> None:
        """Show a parameter node and write to it; None follows nothing, as while a scene is closed or read."""
        choice = self.context.choice
        if choice.parameters is not None:
            self.removeObserver(choice.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        choice.parameters = parameters
        self.output.follow()
        if parameters is not None:
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_modified)

    def pause(self) -> None:
        """Follow nothing until :meth:`enter`; what runs goes on, whatever module is open."""
        self.paused = self.paused or self.context.parameters is not None
        self.follow(None)

    def enter(self, parameters: Any) -> None:
        """The module was opened: follow a parameter node, and look anew at what may have changed meanwhile."""
        self.paused = False
        self.follow(parameters)
        remove_lost_tables()
        for section in self.sections:
            section.enter()
        self.context.refresh()

    def close(self) -> None:
        """Follow nothing, stop everything, and leave nothing temporary in the scene."""
        self.paused = False
        self.follow(None)  # first: what is taken away now is not to be asked for again
        for section in self.sections:
            section.close()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, scene: slicer.vtkMRMLScene, event: str, node: slicer.vtkMRMLNode) -> None:
        """With a segmentation, its tables go; a scene that is closed removes them by itself."""
        if node.IsA("vtkMRMLSegmentationNode") and not scene.IsClosing():
            remove_tables(node)

    def _on_modified(self, caller: slicer.vtkMRMLNode, event: str) -> None:
        self.output.follow_volume()
        self.context.refresh()
