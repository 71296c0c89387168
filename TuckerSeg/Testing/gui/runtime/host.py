"""A headless stand-in for the Slicer application around the real slicer-core MRML library.

start() returns slicer.app; load(path) registers a scripted module the way qSlicerScriptedLoadableModule does
(class X(parent); XWidget(container).setup(); XLogic()).  overlay=DIR uses Slicer's own Python files from DIR
(ScriptedLoadableModule.py, parameterNodeWrapper, packaging, i18n ...) instead of the short ones in bases.py.
"""

import importlib.util, os, pathlib, sys, tempfile, types, zipfile

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import pythonqt

pythonqt.install()
from PySide6 import QtCore, QtWidgets
import slicer, slicer.util, vtk
import dialogs, parameter_node, widgets

HERE = pathlib.Path(__file__).resolve().parent


class Module(QtCore.QObject):  # slicer.modules.xyz of a C++ module: path, logic()
    _emulates_cpp = True

    def __init__(self, name, logic, path=""):
        super().__init__()
        self._n, self._l, self._p = name, logic, path

    name = QtCore.Property(str, lambda s: s._n)
    path = QtCore.Property(str, lambda s: s._p)
    title = QtCore.Property(str, lambda s: s._n)

    def logic(self):
        return self._l

    def widgetRepresentation(self):
        raise NotImplementedError(f"GUI of C++ module {self._n} is not part of this runtime")


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """The `parent` a module class gets: sets title, categories, ... on it."""

    moduleNameSet = QtCore.Signal(str)

    def __init__(self, path):
        super().__init__()
        self._p, self._w = str(path), None
        for k, v in dict(
            title="",
            categories=[],
            dependencies=[],
            contributors=[],
            helpText="",
            acknowledgementText="",
            index=-1,
            hidden=False,
            widgetRepresentationCreationEnabled=True,
            icon=None,
            associatedNodeTypes=[],
        ).items():
            self.__dict__[k] = v
        self.__dict__["path"] = self._p
        self.__dict__["_sealed"] = True

    @property
    def _module(self):
        return pathlib.Path(self._p).stem

    def widgetRepresentation(self):
        if self._w is None:
            self._w = qSlicerScriptedLoadableModuleWidget(self)
            self._w._build()
        return self._w

    def createNewWidgetRepresentation(self):
        w = qSlicerScriptedLoadableModuleWidget(self)
        w._build()
        return w

    def logic(self):
        return None


class qSlicerScriptedLoadableModuleWidget(widgets.qMRMLWidget):
    """The container widget (module panel page): QVBoxLayout, setup/enter/exit forwarded to the Python class."""

    def __init__(self, module):
        super().__init__()
        self._m, self._entered, self._self = module, False, None
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def _build(self):
        name = self._m._module
        py = sys.modules[name]
        self._self = getattr(py, name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._self)
        self._self.setup()
        self.layout().addStretch(1)

    def reload(self):
        """As slicer.util.reloadScriptedModule asks for: the Python class anew, in the same page."""
        self._build()

    def self(self):
        return self._self

    isEntered = QtCore.Property(bool, lambda s: s._entered)

    def enter(self):
        self._entered = True
        getattr(self._self, "enter", lambda: None)()

    def exit(self):
        self._entered = False
        getattr(self._self, "exit", lambda: None)()


class CoreIO(QtCore.QObject):
    """coreIOManager()/ioManager(): the file types an image segmentation extension reads and writes."""

    READ = {
        "VolumeFile": None,
        "SegmentationFile": "vtkMRMLSegmentationNode",
        "TableFile": "vtkMRMLTableNode",
        "ModelFile": "vtkMRMLModelNode",
        "TransformFile": "vtkMRMLLinearTransformNode",
        "TextFile": "vtkMRMLTextNode",
        "ColorTableFile": "vtkMRMLColorTableNode",
        "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
    }

    def fileType(self, f):
        f = str(f).lower()
        for ends, t in (
            ((".seg.nrrd", ".seg.nhdr"), "SegmentationFile"),
            ((".mrb", ".mrml"), "SceneFile"),
            ((".csv", ".tsv"), "TableFile"),
            ((".stl", ".vtk", ".vtp", ".obj", ".ply"), "ModelFile"),
            ((".mrk.json",), "MarkupsFile"),
            ((".tfm", ".h5"), "TransformFile"),
            ((".ctbl",), "ColorTableFile"),
            ((".txt", ".json"), "TextFile"),
        ):
            if f.endswith(ends):
                return t
        return "VolumeFile"

    def extractKnownExtension(self, f, node=None):
        return next((e for e in (".nii.gz", ".seg.nrrd", ".mrk.json") if f.lower().endswith(e)), pathlib.Path(f).suffix)

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def loadNodes(self, kind, props, collection, messages=None):
        s, f = slicer.mrmlScene, props["fileName"]
        name = props.get("name") or pathlib.Path(f).name.split(".")[0]
        if kind == "SceneFile":
            if f.endswith(".mrb"):
                return bool(s.ReadFromMRB(f, props.get("clear", False), messages))
            s.SetURL(f)
            return bool(s.Import(messages))
        if kind == "VolumeFile":
            opts = (
                int(bool(props.get("labelmap")))
                + 2 * int(bool(props.get("center")))
                + 16 * int(not props.get("autoWindowLevel", True)) * 0
                + 4 * int(bool(props.get("singleFile")))
            )
            n = slicer.app._logics["Volumes"].AddArchetypeVolume(f, name, opts)
            if n is None:
                return False
        else:
            n = s.AddNewNodeByClass(self.READ[kind], name)
            n.AddDefaultStorageNode(f)
            st = n.GetStorageNode()
            st.SetFileName(f)
            if not st.ReadData(n):
                s.RemoveNode(n)
                return False
            if hasattr(n, "CreateDefaultDisplayNodes"):
                n.CreateDefaultDisplayNodes()
        collection.AddItem(n)
        return True

    def saveNodes(self, kind, props, messages=None):
        s, f = slicer.mrmlScene, props["fileName"]
        if kind == "SceneFile":
            for n in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
                if n.GetSaveWithScene() and not n.GetStorageNode():
                    n.AddDefaultStorageNode()
            if f.endswith(".mrb"):
                return bool(s.WriteToMRB(f, None, messages))
            s.SetURL(f)
            return bool(s.Commit(f, messages))
        n = s.GetNodeByID(props["nodeID"])
        n.AddDefaultStorageNode(f)
        st = n.GetStorageNode()
        st.SetFileName(f)
        if "useCompression" in props:
            st.SetUseCompression(bool(props["useCompression"]))
        return bool(st.WriteData(n))

    def fileWriterExtensions(self, node):
        st = node.CreateDefaultStorageNode()
        st.UnRegister(None)
        st.SetScene(slicer.mrmlScene)
        t = st.GetSupportedWriteFileTypes()
        return [t.GetValue(i) for i in range(t.GetNumberOfValues())]

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransforms=False, messages=None):
        ok = True
        for i, f in zip(nodeIDs, fileNames):
            n = slicer.mrmlScene.GetNodeByID(i)
            st = n.CreateDefaultStorageNode()
            st.UnRegister(None)
            st.SetScene(slicer.mrmlScene)
            st.SetFileName(f)
            if "useCompression" in properties:
                st.SetUseCompression(int(properties["useCompression"]))
            ok = bool(st.WriteData(n)) and ok
        return ok


class ModuleManager(QtCore.QObject):
    _unload = QtCore.Signal(str)
    _loaded = QtCore.Signal(object)
    _signals = {
        "moduleAboutToBeUnloaded(QString)": "_unload",
        "moduleLoaded(QString)": "_unload",
        "modulesLoaded(QStringList)": "_loaded",
    }

    def module(self, name):
        return slicer.app._modules.get(name)

    def modulesNames(self):
        return list(slicer.app._modules)

    def factoryManager(self):
        return self

    def loadedModuleNames(self):
        return list(slicer.app._modules)


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
    applicationVersion = QtCore.Property(str, lambda s: "5.12.4")
    majorVersion = QtCore.Property(int, lambda s: 5)
    minorVersion = QtCore.Property(int, lambda s: 12)
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

    def processEvents(self):
        self._qapp.processEvents()

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


def start(share=None, overlay=None):
    widgets.install()
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
    slicer.app = qSlicerApplication(share)
    import bases

    sys.modules["SampleData"] = bases.SampleData
    dialogs.install()
    parameter_node.install()
    if overlay:
        slicer.__path__.append(str(overlay))
    else:
        for n in ("ScriptedLoadableModule", "i18n", "packaging"):
            sys.modules[f"slicer.{n}"] = m = getattr(bases, n)
            setattr(slicer, n, m)
    return slicer.app


def load(path):
    """Import a scripted module file, register it under slicer.modules, return its widgetRepresentation()-bearing object."""
    path = pathlib.Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    parent = qSlicerScriptedLoadableModule(path)
    slicer.app._modules[name] = parent
    setattr(slicer.modules, name.lower(), parent)
    spec = importlib.util.spec_from_file_location(name, path)
    m = importlib.util.module_from_spec(spec)
    sys.modules[name] = m
    spec.loader.exec_module(m)
    parent._instance = getattr(m, name)(parent)
    setattr(slicer.modules, name + "Instance", parent._instance)
    return parent


def startup_completed():
    slicer.app._started.emit()
