"""Names out of files that UTF-8 cannot hold: JSON may have half a surrogate pair, escaped."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.image import Geometry, Segment, write_labels
from TuckerSegLib.text_files import write_text


def test_half_a_surrogate_pair_is_written_as_its_escape(tmp_path):
    write_text(tmp_path / "table.csv", "\ud800,ä\n")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "\\ud800,ä\n"


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_labels_are_written_whatever_their_names_hold(extension, tmp_path):
    geometry, segment = Geometry((2, 2, 2), np.eye(4)), Segment(1, "li\ud800ver", (1, 0, 0), {"tag": "\udfff"})
    path = tmp_path / f"labels{extension}"
    write_labels(path, np.ones((2, 2, 2), np.uint8), geometry, [segment], description="made by \ud800")
    assert path.stat().st_size > 0
