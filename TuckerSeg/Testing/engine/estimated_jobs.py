"""Jobs whose cost is estimated."""

from __future__ import annotations

import numpy as np

from TuckerSegLib import (
    InferenceSpec,
    Job,
    image_from_array,
)
from TuckerSegLib.models.resolved_job import ResolvedJob, resolve
from TuckerSegLib.records.job import steps_at

PROCESSOR = InferenceSpec(device="torch:cpu", threads=1)


def by_default(rank_ratio: float) -> ResolvedJob:
    return resolve(Job((), inference=PROCESSOR, steps=steps_at(rank_ratio)))


def image_of(volume):
    return image_from_array(volume.voxels, affine=np.asarray(volume.file.affine))
