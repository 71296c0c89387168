"""Data sets that Slicer's Sample Data module lists: the built-in volume, and a public CT that is fetched."""

from __future__ import annotations

import slicer

from ...catalog.resources import RESOURCES

CATEGORY = "TuckerSeg"
TORSO_FILE = RESOURCES / "Data" / "synthetic_torso.nii.gz"
TORSO_SHA256 = "b09cffe5a0089740046d3d0e3cac805b98d601a276d1659d5ae3eabc9c7eb741"
TORSO_NAME = "TuckerSegTorso"
# TotalSegmentator's own example (Apache-2.0), a trunk of 3 mm voxels, at a commit, so that it never changes.
EXAMPLE_URI = (
    "https://raw.githubusercontent.com/wasserth/TotalSegmentator/0effae9d718aab0c118ce1f8982dcd16b9e32a50/"
    "tests/reference_files/example_ct.nii.gz"
)
EXAMPLE_SHA256 = "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1"
EXAMPLE_NAME = "TotalSegmentatorExampleCT"


def register_sample_data() -> None:
    """Tell the Sample Data module of both. Called when the application has started; again, it changes nothing."""
    # A file is "downloaded" from its place on the disk: no network is needed, and the checksum sees to it that the
    # copy in Slicer's cache follows an update of the extension.
    _register(TORSO_NAME, TORSO_FILE.as_uri(), TORSO_SHA256)
    _register(EXAMPLE_NAME, EXAMPLE_URI, EXAMPLE_SHA256)


def load_built_in_volume() -> slicer.vtkMRMLScalarVolumeNode:
    """Load the synthetic torso into the scene."""
    return slicer.util.loadVolume(str(TORSO_FILE), {"name": TORSO_NAME})


def _register(name: str, uri: str, sha256: str) -> None:
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=name,
        thumbnailFileName=str(RESOURCES / "Icons" / f"{name}.png"),
        uris=uri,
        fileNames=f"{name}.nii.gz",
        nodeNames=name,
        checksums=f"SHA256:{sha256}",
    )
