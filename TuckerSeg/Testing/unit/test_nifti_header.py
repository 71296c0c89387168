"""Headers of NIfTI, and orientations, beside nibabel's: bit by bit the same."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from TuckerSegLib.image.formats.nifti import nifti_header
from TuckerSegLib.image.formats.nifti_header import NiftiHeader, qform_affine, set_qform, spacing_affine
from TuckerSegLib.image.geometry import Geometry
from TuckerSegLib.image.orientations import codes_of, nearest_axes

NIBABELS = {1: Nifti1Header, 2: Nifti2Header}


def affines() -> list[np.ndarray]:
    """Of grids along the patient's axes, of turned ones and of sheared ones."""
    random = np.random.default_rng(0)
    matrices = []
    for _ in range(60):
        permuted = np.eye(3)[random.permutation(3)] * random.choice([-1, 1], 3)
        turned = np.linalg.qr(random.normal(size=(3, 3)))[0]
        for directions in (permuted, turned, random.normal(size=(3, 3))):
            affine = np.eye(4)
            affine[:3, :3], affine[:3, 3] = directions * random.uniform(0.3, 5, 3), random.normal(size=3) * 100
            matrices.append(affine)
    return matrices


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", "<>")
def test_fields_and_affines_are_those_of_nibabel_bit_by_bit(version, order):
    for number, affine in enumerate(affines()):
        theirs, ours = NIBABELS[version](endianness=order), NiftiHeader(version, order)
        shape = (5 + number, 400, 3)
        theirs.set_data_shape(shape)
        theirs.set_qform(affine, 1)
        ours["dim"][:4] = 3, *shape
        set_qform(ours, affine, 1)
        read = NiftiHeader(version, order, theirs.binaryblock)
        for name in theirs:
            assert read[name].tobytes() == theirs[name].tobytes(), name
        for name in ("dim", "pixdim", "qform_code", *(f"quatern_{part}" for part in "bcd")):
            assert ours[name].tobytes() == theirs[name].tobytes(), name
        np.testing.assert_array_equal(qform_affine(ours), theirs.get_qform())
        np.testing.assert_array_equal(spacing_affine(ours), theirs.get_base_affine())
        assert bytes(ours.copy()) == bytes(ours)


@pytest.mark.parametrize("version", [1, 2])
def test_a_quaternion_of_length_one_but_for_rounding_has_no_rest_and_a_longer_one_is_refused(version):
    for length in (1.0, 1 + 1e-16, 1 + 1e-8, 1.001):
        theirs = NIBABELS[version]()
        theirs["quatern_b"], theirs["quatern_d"] = 0.6 * length, 0.8 * length
        ours = NiftiHeader(version, theirs.endianness, theirs.binaryblock)
        try:
            expected = theirs.get_qform()
        except ValueError:
            with pytest.raises(ValueError, match="quaternion"):
                qform_affine(ours)
        else:
            np.testing.assert_array_equal(qform_affine(ours), expected)


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 2, 40000)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_label_file_s_header_is_the_one_that_nibabel_writes(kind, shape):
    for affine in affines()[:9]:
        theirs = NIBABELS[1 if max(shape) < 32768 else 2](endianness="<")
        theirs.set_data_dtype(kind)
        theirs.set_data_shape(shape[::-1])
        theirs.set_qform(affine, 1, strip_shears=True)
        theirs.set_sform(affine, 1)
        theirs.set_xyzt_units("mm")
        theirs["descrip"] = b"of a test"
        theirs.set_intent(1002, name="labels", allow_unknown=True)
        theirs["magic"], theirs["vox_offset"] = theirs.single_magic, theirs.single_vox_offset
        theirs["scl_slope"], theirs["scl_inter"] = 1, 0
        written = nifti_header(np.dtype(kind), Geometry(shape, affine), "of a test")
        assert written.rstrip(b"\0") == theirs.binaryblock.rstrip(b"\0")
        assert len(written) == theirs.single_vox_offset


def test_the_nearest_axes_are_those_of_nibabel():
    for affine in affines():
        assert codes_of(nearest_axes(affine)) == nibabel.aff2axcodes(affine)
    flat = np.diag([2.0, 0.0, 1.0, 1.0])
    assert codes_of(nearest_axes(flat)) == nibabel.aff2axcodes(flat) == ("R", None, "S")
