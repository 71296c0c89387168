"""A stand-in for Slicer's module Sample Data: its register of sources, and how one of them is fetched and loaded.

A file is kept in the scene's cache folder and its checksum compared; what fails is tried three times. A loaded node has
no storage node. Instead of one file a source may have several, whose fields are then lists of the same length.
"""

import pathlib
import sys
import types
import urllib.request

import slicer
import slicer.util
import vtk

ATTEMPTS = 3
FIELDS_PER_FILE = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")


class SampleDataSource:
    """One entry: what is fetched from where, and how it is called in the scene."""

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        given = locals()
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        given["loadFileTypes"] = _either(loadFileTypes, loadFileType)
        for name in FIELDS_PER_FILE:
            value = given[name]
            if isinstance(uris, str):
                value = [value]
            elif value is None or (name == "loadFileTypes" and isinstance(value, str)):
                value = [value] * len(uris)
            setattr(self, name, value)
        lengths = {name: len(getattr(self, name)) for name in FIELDS_PER_FILE}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"All fields of sample data source must have the same length: {lengths}")

    def __eq__(self, other):
        return isinstance(other, SampleDataSource) and vars(self) == vars(other)


class SampleDataLogic:
    """The register, kept in ``slicer.modules`` for all modules, and the way from an entry to a node."""

    def __init__(self, logMessage=None):
        self._log = logMessage or (lambda message, level=None: None)

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},  # noqa: B006  (as Slicer has it; it is not changed)
        checksums=None,
        loadFileType=None,
    ):
        source = SampleDataSource(
            sampleName,
            None,
            uris,
            fileNames,
            nodeNames,
            checksums,
            loadFiles,
            customDownloader,
            thumbnailFileName,
            _either(loadFileTypes, loadFileType),
            loadFileProperties,
        )
        known = SampleDataLogic.sampleDataSourcesByCategory().setdefault(category, [])
        if source not in known:
            known.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    def sourceForSampleName(self, sampleName):
        sources = (source for known in self.sampleDataSourcesByCategory().values() for source in known)
        return next((source for source in sources if source.sampleName == sampleName), None)

    def downloadSamples(self, sampleName):
        return self.downloadFromSource(self.sourceForSampleName(sampleName))

    def downloadFromSource(self, source, maximumAttemptsCount=ATTEMPTS):
        """Nodes that were loaded; paths instead of nodes where something is not loaded."""
        results = []
        for uri, file_name, node_name, checksum, loads, kind in zip(
            *(getattr(source, name) for name in FIELDS_PER_FILE), strict=True
        ):
            for _ in range(maximumAttemptsCount):
                try:
                    path = self._fetch(uri, file_name, checksum)
                except OSError as error:
                    self._log(f"Download failed: {error}")
                    continue
                result = path if loads is False else self._load(path, node_name, kind, source.loadFileProperties)
                if result is not None:
                    results.append(result)
                    break
        return results

    def _fetch(self, uri, file_name, checksum):
        """The file in the cache; after two attempts whose checksum is wrong, there is none."""
        path = pathlib.Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / file_name
        algorithm, digest = slicer.util.extractAlgoAndDigest(checksum)
        for _ in range(2):
            if not path.exists():
                urllib.request.urlretrieve(uri, path)
            if algorithm is None or slicer.util.computeChecksum(algorithm, str(path)) == digest:
                break
            path.unlink()
        return str(path)

    def _load(self, path, node_name, kind, properties):
        if not pathlib.Path(path).exists():
            return None
        io, nodes = slicer.app.coreIOManager(), vtk.vtkCollection()
        if not io.loadNodes(kind or io.fileType(path), {**properties, "fileName": path, "name": node_name}, nodes):
            return None
        node = nodes.GetItemAsObject(0)
        if node.GetStorageNode():  # the cache's file is none that the node could be saved to
            slicer.mrmlScene.RemoveNode(node.GetStorageNode())
            node.SetAndObserveStorageNodeID(None)
        return node


def registerCustomSampleDataCategory(category, title):
    """A category's title, for people."""
    if not hasattr(slicer.modules, "sampleDataSourceCategories"):
        slicer.modules.sampleDataSourceCategories = {}
    slicer.modules.sampleDataSourceCategories.setdefault(category, {})["title"] = title


def categoryTitle(category):
    """The title, or the category's own name."""
    return getattr(slicer.modules, "sampleDataSourceCategories", {}).get(category, {}).get("title", category)


def know_titles(known):
    """Let the logic have the functions for titles of categories, or not."""
    for function in (registerCustomSampleDataCategory, categoryTitle):
        if known:
            setattr(SampleDataLogic, function.__name__, staticmethod(function))
        elif hasattr(SampleDataLogic, function.__name__):
            delattr(SampleDataLogic, function.__name__)


def _either(kinds, kind):
    if kinds is not None and kind is not None:
        raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
    return kinds if kind is None else kind


def downloadSample(sampleName):
    """The first node of a source."""
    return downloadSamples(sampleName)[0]


def downloadSamples(sampleName):
    """All nodes of a source."""
    return SampleDataLogic().downloadSamples(sampleName)


def install():
    """Put the stand-in where modules import it from."""
    module = types.ModuleType("SampleData")
    for item in (SampleDataSource, SampleDataLogic, downloadSample, downloadSamples):
        setattr(module, item.__name__, item)
    sys.modules["SampleData"] = module
