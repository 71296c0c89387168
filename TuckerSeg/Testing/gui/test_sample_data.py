"""Sample data: the built-in volume loads without a network, the example is pinned by a checksum."""

from __future__ import annotations

import hashlib

import pytest


@pytest.fixture
def sources(slicer_app):
    import SampleData

    from TuckerSegLib.slicer_bridge.sample_data import register_sample_data

    SampleData.SampleDataLogic.sources.clear()
    register_sample_data()
    return {source["sampleName"]: source for source in SampleData.SampleDataLogic.sources}


def test_the_built_in_volume_loads(sources):
    node = sources["TuckerSegTorso"]["customDownloader"](None)
    assert node.GetName() == "TuckerSegTorso"
    assert node.GetImageData().GetDimensions() == (143, 107, 224)
    assert node.GetSpacing() == (3.0, 3.0, 3.0)


def test_every_source_has_a_picture(sources):
    from pathlib import Path

    assert len(sources) == 2
    assert all(Path(source["thumbnailFileName"]).is_file() for source in sources.values())


def test_the_example_is_the_one_that_the_checksum_names(sources, shared_data):
    """The same bytes as the file of the tests' data; fetched only from a fixed commit."""
    source = sources["TotalSegmentatorExampleCT"]
    digest = hashlib.sha256((shared_data / "data" / "example_ct.nii.gz").read_bytes()).hexdigest()
    assert source["checksums"] == f"SHA256:{digest}"
    assert source["uris"].startswith("https://")
