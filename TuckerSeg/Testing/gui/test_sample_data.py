"""Sample data: both are fetched and checked as Slicer's module does it, the built-in volume without a network."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import pytest

# Of SampleDataLogic.registerCustomSampleDataSource, in Slicer 5.10 and later alike.
PARAMETERS = {
    "category",
    "sampleName",
    "uris",
    "fileNames",
    "nodeNames",
    "customDownloader",
    "thumbnailFileName",
    "loadFileType",
    "loadFiles",
    "loadFileProperties",
    "checksums",
}


@pytest.fixture
def sources(slicer_app):
    import SampleData

    from TuckerSegLib.slicer_bridge.scene.sample_data import register_sample_data

    SampleData.SampleDataLogic.sources.clear()
    register_sample_data()
    return {source["sampleName"]: source for source in SampleData.SampleDataLogic.sources}


def fetch(source, folder):
    """Download a source and compare its checksum, in the steps of Slicer's Sample Data module."""
    import slicer

    file = folder / source["fileNames"]
    urllib.request.urlretrieve(source["uris"], file)
    algorithm, digest = slicer.util.extractAlgoAndDigest(source["checksums"])
    assert slicer.util.computeChecksum(algorithm, str(file)) == digest
    return file


def test_a_source_is_described_with_what_slicer_knows(sources):
    assert set(sources) == {"TuckerSegTorso", "TotalSegmentatorExampleCT"}
    assert all(set(source) <= PARAMETERS for source in sources.values())


def test_the_built_in_volume_is_fetched_from_its_place_without_a_network(sources, tmp_path):
    import slicer

    source = sources["TuckerSegTorso"]
    assert source["uris"].startswith("file:///")
    node = slicer.util.loadVolume(str(fetch(source, tmp_path)), {"name": source["nodeNames"]})
    assert node.GetImageData().GetDimensions() == (143, 107, 224)


def test_the_built_in_volume_is_loaded_by_its_name(slicer_app):
    from TuckerSegLib.slicer_bridge.scene.sample_data import load_built_in_volume

    node = load_built_in_volume()
    assert node.GetName() == "TuckerSegTorso"
    assert node.GetSpacing() == (3.0, 3.0, 3.0)


def test_every_source_has_a_picture_of_the_usual_size(sources):
    import qt

    for source in sources.values():
        assert Path(source["thumbnailFileName"]).is_file()
        picture = qt.QImage(source["thumbnailFileName"])
        assert (picture.width(), picture.height()) == (260, 280)


def test_the_example_is_the_one_that_the_checksum_names(sources, shared_data):
    """The same bytes as the file of the tests' data; fetched only from a fixed commit."""
    source = sources["TotalSegmentatorExampleCT"]
    digest = hashlib.sha256((shared_data / "data" / "example_ct.nii.gz").read_bytes()).hexdigest()
    assert source["checksums"] == f"SHA256:{digest}"
    assert source["uris"].startswith("https://")
