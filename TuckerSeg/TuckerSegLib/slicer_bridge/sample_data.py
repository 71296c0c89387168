"""Data sets that Slicer's Sample Data module lists: the built-in volume, and a public CT that is fetched."""

from __future__ import annotations

from typing import Any

import slicer

from ..catalog import RESOURCES

CATEGORY = "TuckerSeg"
TORSO_FILE = RESOURCES / "Data" / "synthetic_torso.nii.gz"
TORSO_NAME = "TuckerSegTorso"
# TotalSegmentator's own example (Apache-2.0), at a commit, so that it never changes.
EXAMPLE_URI = (
    "https://raw.githubusercontent.com/wasserth/TotalSegmentator/0effae9d718aab0c118ce1f8982dcd16b9e32a50/"
    "tests/reference_files/example_ct.nii.gz"
)
EXAMPLE_SHA256 = "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1"
EXAMPLE_NAME = "TotalSegmentatorExampleCT"


def register_sample_data() -> None:
    """Tell the Sample Data module of both. Called once, when the application has started."""
    import SampleData

    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    register(
        category=CATEGORY,
        sampleName=TORSO_NAME,
        sampleDescription="Synthetic torso of 3 mm voxels, built in: for trying the demonstration model",
        thumbnailFileName=str(RESOURCES / "Icons" / f"{TORSO_NAME}.png"),
        uris=TORSO_FILE.as_uri(),
        fileNames=TORSO_FILE.name,
        nodeNames=TORSO_NAME,
        customDownloader=load_built_in_volume,  # it is here already, network or not
    )
    register(
        category=CATEGORY,
        sampleName=EXAMPLE_NAME,
        sampleDescription="Trunk CT of 3 mm voxels, TotalSegmentator's example",
        thumbnailFileName=str(RESOURCES / "Icons" / "TuckerSeg.png"),
        uris=EXAMPLE_URI,
        fileNames=f"{EXAMPLE_NAME}.nii.gz",
        nodeNames=EXAMPLE_NAME,
        checksums=f"SHA256:{EXAMPLE_SHA256}",
    )


def load_built_in_volume(source: Any = None) -> slicer.vtkMRMLScalarVolumeNode:
    """Load the synthetic torso into the scene.

    Args:
        source: What the Sample Data module passes; not needed.
    """
    return slicer.util.loadVolume(str(TORSO_FILE), {"name": TORSO_NAME})
