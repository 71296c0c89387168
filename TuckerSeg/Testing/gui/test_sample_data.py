"""Sample data: both are fetched and checked as Slicer's module does it, the built-in volume without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

CATEGORY = "TuckerSeg"


@pytest.fixture
def sources(slicer_app, tmp_path):
    """What is registered, by name; files go to a cache of the test's own."""
    import slicer
    from SampleData import SampleDataLogic

    from TuckerSegLib.slicer_bridge.scene.sample_data import register_sample_data

    slicer.modules.sampleDataSources = {}
    manager = slicer.mrmlScene.GetCacheManager()
    before = manager.GetRemoteCacheDirectory()
    manager.SetRemoteCacheDirectory(str(tmp_path))
    register_sample_data()
    yield {source.sampleName: source for source in SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)}
    manager.SetRemoteCacheDirectory(before)


def test_every_release_of_slicer_takes_the_sources(slicer_version, sources):
    assert set(sources) == {"TuckerSegTorso", "TotalSegmentatorExampleCT"}


def test_registering_again_changes_nothing(sources):
    from SampleData import SampleDataLogic

    from TuckerSegLib.slicer_bridge.scene.sample_data import register_sample_data

    register_sample_data()
    assert list(SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)) == list(sources.values())


def test_the_built_in_volume_is_fetched_from_its_place_without_a_network(sources, tmp_path):
    import SampleData

    from TuckerSegLib.slicer_bridge.scene.volumes import check_volume

    assert sources["TuckerSegTorso"].uris[0].startswith("file:///")
    node = SampleData.downloadSample("TuckerSegTorso")
    assert (node.GetName(), node.GetImageData().GetDimensions()) == ("TuckerSegTorso", (143, 107, 224))
    assert (tmp_path / "TuckerSegTorso.nii.gz").is_file()
    assert node.GetStorageNode() is None  # what follows must do without a file of the volume's
    check_volume(node)


def test_the_built_in_volume_replaces_another_file_in_the_cache(sources, tmp_path):
    import SampleData

    (tmp_path / "TuckerSegTorso.nii.gz").write_bytes(b"of an older version")
    assert SampleData.downloadSample("TuckerSegTorso").GetImageData().GetDimensions() == (143, 107, 224)


def test_the_built_in_volume_is_loaded_by_its_name(slicer_app):
    from TuckerSegLib.slicer_bridge.scene.sample_data import load_built_in_volume

    node = load_built_in_volume()
    assert node.GetName() == "TuckerSegTorso"
    assert node.GetSpacing() == (3.0, 3.0, 3.0)


def test_every_source_has_a_picture_of_the_usual_size(sources):
    import qt

    for source in sources.values():
        assert Path(source.thumbnailFileName).is_file()
        picture = qt.QImage(source.thumbnailFileName)
        assert (picture.width(), picture.height()) == (260, 280)


def test_the_example_is_the_one_that_the_checksum_names(sources, shared_data):
    """The same bytes as the file of the tests' data; fetched only from a fixed commit."""
    source = sources["TotalSegmentatorExampleCT"]
    digest = hashlib.sha256((shared_data / "data" / "example_ct.nii.gz").read_bytes()).hexdigest()
    assert source.checksums == [f"SHA256:{digest}"]
    assert source.uris[0].startswith("https://")
