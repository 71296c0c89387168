"""Label maps of a body that is put together of boxes, and what is said of them."""

from __future__ import annotations

import numpy as np

from TuckerSegLib.image import Geometry, segment_volumes_ml
from TuckerSegLib.quality import check_labels
from TuckerSegLib.records.quality_report import WARNING

# Name: center (right, anterior, superior) and size in mm; the volume is 400 x 280 x 640 mm around (0, 0, 0)
SPINE = {f"vertebrae_T{n}": ((0, -40, 290 - 22 * n), (40, 40, 18)) for n in range(1, 13)}
SPINE |= {f"vertebrae_L{n}": ((0, -40, 26 - 34 * n), (44, 44, 28)) for n in range(1, 6)}

ORGANS = {
    "sacrum": ((0, -60, -190), (80, 40, 60)),
    "liver": ((75, 20, 20), (130, 120, 110)),
    "spleen": ((-95, -20, 15), (60, 60, 80)),
    "stomach": ((-40, 60, 10), (70, 60, 80)),
    "gallbladder": ((60, 90, -50), (30, 10, 40)),
    "heart": ((-30, 60, 120), (90, 90, 90)),
    "inferior_vena_cava": ((25, 0, -80), (24, 24, 70)),
    "aorta": ((-15, -5, -80), (32, 28, 80)),
    "urinary_bladder": ((0, 50, -240), (80, 70, 60)),
    "sternum": ((0, 120, 170), (40, 16, 120)),
    "trachea": ((0, 20, 230), (20, 20, 80)),
    "autochthon_left": ((-35, -85, 0), (40, 40, 300)),
    "autochthon_right": ((35, -85, 0), (40, 40, 300)),
    "kidney_left": ((-70, -30, -60), (50, 50, 90)),
    "kidney_right": ((70, -30, -65), (50, 50, 70)),
    "lung_upper_lobe_left": ((-100, 30, 200), (90, 120, 120)),
    "lung_upper_lobe_right": ((100, 30, 200), (90, 120, 120)),
    "hip_left": ((-80, -5, -220), (60, 50, 100)),
    "hip_right": ((80, -5, -220), (60, 50, 100)),
    "femur_left": ((-110, -5, -290), (40, 40, 58)),
    "femur_right": ((110, -5, -290), (40, 40, 58)),
}

BODY = SPINE | ORGANS
SHAPE = (160, 70, 100)
AFFINE = np.array([[4, 0, 0, -198], [0, 4, 0, -138], [0, 0, 4, -318], [0, 0, 0, 1]], dtype=float)
MIRRORED = {"R": np.diag([-1, 1, 1, 1]), "A": np.diag([1, -1, 1, 1]), "S": np.diag([1, 1, -1, 1])}


def painted(body):
    """Labels (Z, Y, X) of boxes, and their names."""
    labels = np.zeros(SHAPE, np.uint8)
    names = dict(enumerate(body, 1))
    for value, (center, size) in enumerate(body.values(), 1):
        first = [round((c - s / 2 - AFFINE[axis, 3]) / 4) for axis, (c, s) in enumerate(zip(center, size))]
        last = [begin + max(1, round(s / 4)) for begin, s in zip(first, size)]
        x, y, z = (slice(max(0, begin), end) for begin, end in zip(first, last))
        labels[z, y, x] = value
    return labels, names


def report_on(labels, names, affine=AFFINE, image=None):
    geometry = Geometry(labels.shape, affine)
    return check_labels(labels, geometry, names, segment_volumes_ml(labels, geometry, names), image)


def warned(report):
    return {finding.code: finding for finding in report.findings if finding.severity == WARNING}


def of(report, code):
    return next(finding for finding in report.findings if finding.code == code)
