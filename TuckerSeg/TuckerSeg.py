"""TuckerSeg, a 3D Slicer module: a CT to named structures, with a compressed network, on the hardware at hand.

The four classes that Slicer looks for, and the parameter node. Wiring only: what happens is in
``TuckerSegLib.slicer_bridge`` (the border to Slicer) and in the worker process that it starts.
"""

import sys
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

LIBRARY = "TuckerSegLib"


class TuckerSeg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("TuckerSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["TuckerSeg contributors (https://github.com/TuckerSeg/SlicerTuckerSeg)"]
        parent.helpText = _(
            "Segments a CT with a Tucker-compressed nnU-Net on the hardware that you choose, and shows what the "
            "compression saved and what it cost. Everything runs on this computer, and nothing is sent anywhere, "
            "unless you add a server and choose it. Not a medical device."
        )
        parent.acknowledgementText = _(
            "Compression after Tucker-CNN; networks and conventions of nnU-Net v2 and TotalSegmentator."
        )
        slicer.app.connect("startupCompleted()", _register)


def _register():
    """What other modules can find of this one: sample data and terminology."""
    from TuckerSegLib.slicer_bridge.scene.sample_data import register_sample_data
    from TuckerSegLib.slicer_bridge.scene.terminology import register_terminology

    register_sample_data()
    register_terminology()


@parameterNodeWrapper
class TuckerSegParameterNode:
    """What the panel shows, kept in the scene.

    Attributes:
        model: Name of a task or of an imported model, or path of an nnU-Net v2 model.
        modelChosen: Whether the user has chosen it; else the panel proposes one that is on this computer.
        structuresChoice: ``all``, ``group:NAME`` or ``selected`` (those in ``selectedStructures``).
        cropToStructures: Whether only the box of the chosen structures is computed, where a fast network can find it.
        recommendedStep: Whether the model's own step is taken instead of ``stepFraction``.
        rankRatio: Strength of the compression, in its method's own measure (of Tucker compression, the share of the
            ranks that is kept); 1 is the original network. Named as scenes have it.
        method: Of the compression.
        agreement: With the original network, that the fastest network is to keep; 0: the strength says how far to go.
        threads: 0 is automatic.
        calibrate: See ``TuckerSegLib.records.job.Job``.
        refit: Whether a compressed network is fitted once more to the volume.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    allFrames: bool = False
    model: str = "demo"
    modelChosen: bool = False
    structuresChoice: str = "all"
    selectedStructures: list[str] = []
    cropToStructures: bool = False
    rankRatio: Annotated[float, WithinRange(0.05, 1.0)] = 1.0
    method: str = "tucker"
    agreement: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    device: str = "auto"
    precision: Annotated[str, Choice(["auto", "fp32", "bf16", "fp16"])] = "auto"
    recommendedStep: bool = True
    stepFraction: Annotated[float, WithinRange(0.1, 1.0)] = 0.5
    mirroring: bool = False
    skipEmpty: bool = True
    removeSmallBlobs: bool = False
    threads: Annotated[int, WithinRange(0, 256)] = 0
    outputGrid: Annotated[str, Choice(["native", "nearest"])] = "native"
    calibrate: Annotated[str, Choice(["auto", "volume", "none"])] = "auto"
    refit: bool = False
    standardNames: bool = True
    show3D: bool = False
    keepWorkerWarm: bool = True


class TuckerSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer: its life, and the scene's."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        """Called once, when the module is opened first."""
        ScriptedLoadableModuleWidget.setup(self)
        from TuckerSegLib.slicer_bridge.panel import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/TuckerSeg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = TuckerSegLogic()
        self.panel = Panel(self.ui, self.logic.session)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReady)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartRead)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneReady)
        self.addObserver(scene, scene.StartRestoreEvent, self.onSceneStartRead)
        self.addObserver(scene, scene.EndRestoreEvent, self.onSceneReady)
        slicer.app.connect("aboutToQuit()", self.cleanup)
        if self.parent.isEntered:  # reloaded while it was open
            self.enter()

    def cleanup(self):
        """Called when the module is destroyed or reloaded, and when Slicer ends."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel.removeObservers()
            self.logic.close()
            self.panel = None

    def enter(self):
        """Called when the user opens the module."""
        self.panel.enter(self.logic.getParameterNode())

    def exit(self):
        """Called when the user goes to another module; a run goes on."""
        if self.panel is not None:
            self.panel.previewing.close()

    def onSceneStartClose(self, caller, event):
        """The scene is about to go: what runs for it is stopped."""
        self.panel.close()

    def onSceneStartRead(self, caller, event):
        """Nodes come, the parameter node before those that it refers to: nothing is shown or written meanwhile."""
        self.panel.pause()

    def onSceneReady(self, caller, event):
        """The scene is empty, or another one: follow its parameter node, with a view that knows its nodes."""
        if self.parent.isEntered or self.panel.paused:
            self.panel.enter(self.logic.getParameterNode())

    def onReload(self):
        """Reload the module with its library."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == LIBRARY]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class TuckerSegLogic(ScriptedLoadableModuleLogic):
    """Segmentation for scripts: no dialogs, and no widgets needed.

    Example::

        logic = slicer.util.getModuleLogic("TuckerSeg")
        statistics = logic.segment(volumeNode, model="total", structures=["liver", "ribs"])
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        from TuckerSegLib.slicer_bridge.client.session import Session

        self.session = Session()
        self.segmentationNode = None

    def getParameterNode(self):
        """The module's parameter node, typed, in a new view.

        Slicer's views keep the nodes that they have read. One that was made before a scene was loaded or closed may
        know none of its nodes, or those of the scene before.
        """
        return TuckerSegParameterNode(super().getParameterNode())

    def segment(self, volumeNode, segmentationNode=None, rank=1.0, **options):
        """Segment a volume and wait for the result; the application stays responsive.

        Networks that are not on this computer are downloaded first, which ``onEvent`` is told of.

        Args:
            volumeNode: CT volume in Hounsfield units.
            segmentationNode: Node to fill; None makes a new one, then found as ``logic.segmentationNode``. One that was
                edited since the last run is left as it is, and a new one is made, too; ``onEvent`` is told of it.
            rank: Strength of the compression; of Tucker compression the rank ratio. 1 is the original network.
            options: ``model`` (a task such as ``total``, an imported model, or a path), ``structures`` (names or
                groups; of several networks, only those that know one of them are run), ``crop`` (``auto``: only the
                box around them), ``standardNames``, ``method`` (of compression), ``calibrate``, ``refit``,
                ``onEvent``, and the fields of ``InferenceSpec``: ``device``, ``precision``, ``step_fraction``,
                ``mirroring``, ``threads``, ``output_grid``, ``batch_size``.

        Returns:
            RunStatistics: what it cost and found.

        Raises:
            OutputError: ``segmentationNode`` is of another volume; it is left as it is.
            TuckerSegError: With a message and what to do.
            Cancelled: Somebody called :meth:`cancel`.
        """
        settings, onEvent = self._settings(rank, options)
        statistics, self.segmentationNode = self.session.segment(volumeNode, segmentationNode, settings, onEvent)
        return statistics

    def start(self, volumeNode, segmentationNode=None, rank=1.0, **options):
        """Begin to segment a volume and return at once; ``onEvent`` receives dictionaries with an ``event``.

        The last event is ``result`` (with ``statistics`` and ``segmentation_node``), ``error`` (with ``message`` and
        ``advice``) or ``cancelled``. Arguments as in :meth:`segment`.
        """
        settings, onEvent = self._settings(rank, options)
        self.session.start(volumeNode, segmentationNode, settings, onEvent)

    def cancel(self):
        """Stop the run that goes on; the scene stays as it is."""
        self.session.cancel()

    def close(self):
        """End the worker process and remove its files."""
        self.session.close()

    def _settings(self, rank, options):
        from TuckerSegLib.records.job import InferenceSpec
        from TuckerSegLib.slicer_bridge.client.segmentation_run import RunSettings

        options = dict(options)
        onEvent = options.pop("onEvent", lambda event: None)
        structures = options.pop("structures", None)
        if isinstance(structures, str):
            structures = structures.split(",")
        named = {name: options.pop(key) for key, name in OPTION_FIELDS.items() if key in options}
        settings = RunSettings(
            strength=rank,
            structures=tuple(structures) if structures is not None else None,
            inference=InferenceSpec(**options),
            **named,
        )
        return settings, onEvent


OPTION_FIELDS = {
    "model": "model",
    "standardNames": "standard_names",
    "calibrate": "calibrate",
    "method": "method",
    "refit": "refit",
    "crop": "crop",
}


class TuckerSegTest(ScriptedLoadableModuleTest):
    """The self-test: the demonstration model on the built-in volume, without a network connection."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_segments_the_built_in_volume()

    def test_segments_the_built_in_volume(self):
        from TuckerSegLib.slicer_bridge.installation.dependencies import missing_packages
        from TuckerSegLib.slicer_bridge.scene.sample_data import load_built_in_volume

        missing = missing_packages()
        if missing:
            self.delayDisplay("Skipped: not installed yet: " + ", ".join(missing))
            return
        self.delayDisplay("Segmenting the built-in volume")
        volumeNode = load_built_in_volume()
        logic = TuckerSegLogic()
        try:
            # A calibration takes longer than all the rest
            statistics = logic.segment(volumeNode, rank=0.85, calibrate="none")
        finally:
            logic.close()
        segmentation = logic.segmentationNode.GetSegmentation()
        self.assertGreater(segmentation.GetNumberOfSegments(), 20)
        self.assertEqual(segmentation.GetNumberOfSegments(), len(statistics.structures))
        self.assertLess(statistics.macs_per_volume, statistics.original_macs_per_volume)
        self.delayDisplay("Test passed")
