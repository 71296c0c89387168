"""Every kind of nnU-Net model gives the labels of nnU-Net's own code on a real CT, see ``nnunet_parity``.

``Testing/benchmark/parity_table.py`` does the same on whole CTs, for the table in docs/exactness.md.
"""

from __future__ import annotations

import nibabel
import pytest

from Testing.engine.nnunet_parity import KINDS, Parity


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
