"""Modules as the application knows them: those of C++ by name and logic, scripted ones with their panel's page."""

import pathlib
import sys

import qmrml_widgets
import slicer
from PySide6 import QtCore, QtWidgets


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


class qSlicerScriptedLoadableModuleWidget(qmrml_widgets.qMRMLWidget):
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
