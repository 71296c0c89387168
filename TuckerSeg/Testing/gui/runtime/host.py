"""A headless stand-in for the Slicer application around the real slicer-core MRML library.

start() returns slicer.app; load(path) registers a scripted module the way qSlicerScriptedLoadableModule does
(class X(parent); XWidget(container).setup(); XLogic()).  overlay=DIR uses Slicer's own Python files from DIR
instead of the short stand-ins.
"""

import importlib
import importlib.util
import os
import pathlib
import sys
import tempfile
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import pythonqt

pythonqt.install()
import bases
import ctk_widgets
import dialogs
import lifetime
import parameter_node
import qmrml_widgets
import sample_data
import slicer
import slicer.util
import versions
import vtk
from core_io import CoreIO
from modules import Module, ModuleManager, qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget
from PySide6 import QtCore, QtWidgets

HERE = pathlib.Path(__file__).resolve().parent


class LayoutManager(QtCore.QObject):
    """Records what a module asks of the layout; there are no Qt views in this runtime."""

    def __init__(self):
        super().__init__()
        self._calls = []

    def setLayout(self, i):
        self._calls.append(("setLayout", i))
        slicer.app._layoutNode().SetViewArrangement(i)

    def resetThreeDViews(self):
        self._calls.append("resetThreeDViews")

    def resetSliceViews(self):
        self._calls.append("resetSliceViews")

    threeDViewCount = QtCore.Property(int, lambda s: 0)

    def sliceViewNames(self):
        return []


class qSlicerApplication(QtCore.QObject):
    _started = QtCore.Signal()
    _quit = QtCore.Signal()
    _signals = {"startupCompleted()": "_started", "aboutToQuit()": "_quit"}
    _emulates_cpp = True

    def __init__(self, share=None):
        super().__init__()
        self._qapp = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        QtCore.QCoreApplication.setOrganizationName("SlicerTestRuntime")
        QtCore.QCoreApplication.setApplicationName("Slicer")
        self._tmp = tempfile.mkdtemp(prefix="Slicer-")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._tmp)
        self._modules, self._logics, self._io, self._mm, self._lm = {}, {}, CoreIO(), ModuleManager(), LayoutManager()
        self._core(share)

    def _core(self, share):
        self._scene = s = slicer.mrmlScene = slicer.vtkMRMLScene()
        ch = slicer.vtkMRMLCrosshairNode()
        ch.SetCrosshairName("default")
        s.AddNode(ch)
        self._al = a = slicer.vtkSlicerApplicationLogic()
        a.SetMRMLScene(s)
        a.GetColorLogic().SetMRMLScene(s)
        a.GetColorLogic().AddDefaultColorNodes()
        a.SetSliceLogics(vtk.vtkCollection())
        a.SetViewLogics(vtk.vtkCollection())
        a.SetTemporaryPath(self._tmp)
        for f in (slicer.vtkMRMLThreeDViewDisplayableManagerFactory, slicer.vtkMRMLSliceViewDisplayableManagerFactory):
            f.GetInstance().SetMRMLApplicationLogic(a)
        for view in ("Red", "Green", "Yellow"):  # of the default layout
            composite = slicer.vtkMRMLSliceCompositeNode()
            composite.SetLayoutName(view)
            s.AddNode(composite)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(s, True)
        slicer.modules = types.SimpleNamespace()
        for name, cls in dict(
            Colors="vtkMRMLColorLogic",
            Volumes="vtkSlicerVolumesLogic",
            Terminologies="vtkSlicerTerminologiesModuleLogic",
            SubjectHierarchy="vtkSlicerSubjectHierarchyModuleLogic",
            Segmentations="vtkSlicerSegmentationsModuleLogic",
            VolumeRendering="vtkSlicerVolumeRenderingLogic",
            CropVolume="vtkSlicerCropVolumeLogic",
            Models="vtkSlicerModelsLogic",
            Markups="vtkSlicerMarkupsLogic",
            Tables="vtkSlicerTablesLogic",
            Plots="vtkSlicerPlotsLogic",
            Transforms="vtkSlicerTransformLogic",
            Cameras="vtkSlicerCamerasModuleLogic",
            Units="vtkSlicerUnitsLogic",
            Texts="vtkSlicerTextsLogic",
            Sequences="vtkSlicerSequencesLogic",
        ).items():
            lg = getattr(slicer, cls)()
            if share and hasattr(lg, "SetModuleShareDirectory"):
                sub = pathlib.Path(share) / name.lower()
                lg.SetModuleShareDirectory(str(sub if sub.is_dir() else share))
            verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
            vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)  # terminologies that only the application has
            lg.SetMRMLScene(s)
            lg.SetMRMLApplicationLogic(a)
            a.SetModuleLogic(name, lg)
            vtk.vtkLogger.SetStderrVerbosity(verbosity)
            self._logics[name] = lg
            self._modules[name] = m = Module(name, lg)
            setattr(slicer.modules, name.lower(), m)
        self._rio = r = slicer.vtkMRMLRemoteIOLogic()
        r.SetMRMLScene(s)
        r.SetMRMLApplicationLogic(a)
        r.GetCacheManager().SetRemoteCacheDirectory(self._tmp)
        self._dio = d = slicer.vtkDataIOManagerLogic()
        d.SetMRMLScene(s)
        d.SetMRMLApplicationLogic(a)
        d.SetAndObserveDataIOManager(r.GetDataIOManager())
        r.AddDataIOToScene()

    def _layoutNode(self):
        n = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        return n or self._scene.AddNode(slicer.vtkMRMLLayoutNode())

    applicationName = QtCore.Property(str, lambda s: "Slicer")
    applicationVersion = QtCore.Property(str, lambda s: "{}.{}.{}".format(*versions.current.number))
    majorVersion = QtCore.Property(int, lambda s: versions.current.number[0])
    minorVersion = QtCore.Property(int, lambda s: versions.current.number[1])
    revision = QtCore.Property(str, lambda s: "0")
    repositoryRevision = QtCore.Property(str, lambda s: "0")
    temporaryPath = QtCore.Property(str, lambda s: s._tmp)
    slicerHome = QtCore.Property(str, lambda s: sys.prefix)
    documentationBaseUrl = QtCore.Property(str, lambda s: "https://slicer.readthedocs.io/")
    os = QtCore.Property(str, lambda s: "linux")
    arch = QtCore.Property(str, lambda s: "amd64")

    def moduleDocumentationUrl(self, n):
        return f"https://slicer.readthedocs.io/modules/{n}.html"

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._al

    def moduleManager(self):
        return self._mm

    def moduleLogic(self, n):
        return self._logics.get(n)

    def coreIOManager(self):
        return self._io

    def ioManager(self):
        return self._io

    def layoutManager(self):
        return self._lm

    def processEvents(self, *flags):
        self._qapp.processEvents(*flags)
        lifetime.delete_what_is_due()

    def testingEnabled(self):
        return True

    def settings(self):
        return QtCore.QSettings()

    def userSettings(self):
        return QtCore.QSettings()

    def revisionUserSettings(self):
        return QtCore.QSettings()

    def setOverrideCursor(self, c):
        QtWidgets.QApplication.setOverrideCursor(c)

    def restoreOverrideCursor(self):
        QtWidgets.QApplication.restoreOverrideCursor()

    def translate(self, context, text):
        return text

    def mainWindow(self):
        return None

    def topLevelWidgets(self):
        return self._qapp.topLevelWidgets()

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def restart(self):
        raise RuntimeError("slicer.app.restart() called")

    def exit(self, code=0):
        raise SystemExit(code)


def _quiet(kind, context, message):
    """Qt's messages on standard error, but for what the offscreen platform says of every window."""
    if "propagateSizeHints" not in message:
        print(message, file=sys.stderr)


def start(share=None, overlay=None):
    """The application, once per process.

    Args:
        share: Folder of the modules' data.
        overlay: Folder with Slicer's own Python files; what it has is used instead of this runtime's stand-ins:
            ``ScriptedLoadableModule``, ``i18n``, ``packaging``, ``parameterNodeWrapper``, ``SampleData``.
    """
    QtCore.qInstallMessageHandler(_quiet)
    ctk_widgets.install()
    qmrml_widgets.install()
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
    slicer.app = qSlicerApplication(share)
    for module in (bases.ScriptedLoadableModule, bases.i18n):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rpartition(".")[2], module)
    sample_data.install()
    dialogs.install()
    parameter_node.install()
    versions.use(versions.current)
    if overlay:
        _lay_over(pathlib.Path(overlay))
    return slicer.app


def _lay_over(folder):
    """Slicer's own files in front of the stand-ins."""
    slicer.__path__.insert(0, str(folder))
    for name in ("i18n", "packaging", "parameterNodeWrapper", "ScriptedLoadableModule"):
        if (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file():
            sys.modules.pop(f"slicer.{name}", None)
            setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
    if (folder / "SampleData.py").is_file():  # a module of its own, and not of the package
        _import_file(folder / "SampleData.py")


def _import_file(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path):
    """Import a scripted module file and register it under slicer.modules; returns what ``slicer.modules.x`` is."""
    path = pathlib.Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    parent = qSlicerScriptedLoadableModule(path)
    slicer.app._modules[name] = parent
    setattr(slicer.modules, name.lower(), parent)
    m = _import_file(path)
    parent._instance = getattr(m, name)(parent)
    setattr(slicer.modules, name + "Instance", parent._instance)
    return parent


def discard(container):
    """Delete the page of a module whose panel has been cleaned up; else it would follow the scene as long as we run."""
    for widget in (container, *container.findChildren(QtWidgets.QWidget)):
        getattr(widget, "_stop_listening", lambda: None)()
    container.deleteLater()


def startup_completed():
    slicer.app._started.emit()
