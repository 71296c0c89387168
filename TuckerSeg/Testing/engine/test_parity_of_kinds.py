"""Every kind of nnU-Net model gives the labels of nnU-Net's own code on a real CT, see ``nnunet_parity``.

``Testing/benchmark/parity_table.py`` does the same on whole CTs, for the table in docs/exactness.md.
"""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from Testing.engine.nnunet_parity import KINDS, Parity
from TuckerSegLib.preprocessing.label_resampling import resampled_labels


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_model_gives_the_labels_of_nnunet_on_a_real_ct(
    kind, shared_data, run_here, assert_equal_labels, tmp_path
):
    whole = nibabel.load(shared_data / "data" / "elastix_lung_small.nii.gz")
    nibabel.save(whole.slicer[4:44, 20:58, 8:39], tmp_path / "ct.nii.gz")  # with its grid of 2.7 x 2.7 x 5 mm
    compared = Parity(tmp_path / "ct.nii.gz", tmp_path, run_here).compared(kind)
    assert_equal_labels(compared.ours, compared.theirs)
    if compared.difference is not None:
        largest, mean = compared.difference
        assert largest < 1e-3 and mean < 1e-5


@pytest.mark.parametrize(
    ("spacing", "new", "axis"),
    [((3, 3, 3), (3.5, 3, 3.2), None), ((3, 3, 3), (2, 2, 2), None), ((5, 1, 1), (5, 1.5, 1.2), 0)],
)
def test_labels_of_a_first_stage_are_resampled_as_nnunet_does_also_where_rounding_decides(spacing, new, axis):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    labels = np.stack([gaussian_filter(random.normal(size=(56, 50, 61)), 2) for _ in range(4)]).argmax(0)
    shape = [round(size * old / own) for size, old, own in zip(labels.shape, spacing, new)]
    options = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    expected = resample_data_or_seg_to_shape(labels[None].astype(np.int16), shape, spacing, new, **options)[0]
    assert np.array_equal(resampled_labels(labels.astype(np.int16), tuple(shape), axis), expected)
