"""Which type holds a label map: at each border, in every place that chooses one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from TuckerSegLib.cli.commands.check import findings_on
from TuckerSegLib.errors import SpecError
from TuckerSegLib.evaluation.label_files import LabelMap, match_values, read_label_map
from TuckerSegLib.image import Geometry, Segment, label_type, write_labels
from TuckerSegLib.linear_head import Head
from TuckerSegLib.postprocessing.decision import Decision
from TuckerSegLib.postprocessing.label_slice import class_type
from TuckerSegLib.postprocessing.label_volume import label_volume
from TuckerSegLib.postprocessing.merge import MergedLabels
from TuckerSegLib.resampling import ResamplingSpec
from TuckerSegLib.sliding_window import Slab

BORDERS = [(254, np.uint8), (255, np.uint8), (256, np.uint16), (257, np.uint16), (65534, np.uint16), (65535, np.uint16)]
at_the_borders = pytest.mark.parametrize("largest, dtype", BORDERS)
GRID = Geometry((2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]))


def labels_with(largest: int) -> np.ndarray:
    labels = np.zeros(GRID.shape, label_type(largest))
    labels[0, 0, :3] = 1, largest - 1, largest
    return labels


@at_the_borders
def test_the_smallest_type_that_holds_a_label_is_taken(largest, dtype):
    assert label_type(largest) == dtype
    assert np.array(largest).astype(label_type(largest)) == largest


@pytest.mark.parametrize("largest", [-1, 65536, 10**9])
def test_a_label_that_no_file_holds_is_refused(largest):
    with pytest.raises(SpecError, match=f"from 0 to 65535; found {largest}"):
        label_type(largest)


@pytest.mark.parametrize("count", [2, 255, 256, 257, 32767, 32768, 32769, 65535, 65536])
def test_a_class_type_holds_the_last_class(count):
    assert torch.iinfo(class_type(count)).max >= count - 1
    assert class_type(count) == (torch.uint8 if count <= 256 else torch.int16 if count <= 32768 else torch.int32)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("count", [255, 256, 257, 300])
def test_each_of_many_classes_is_labeled_with_its_value(count, regions):
    """One voxel per class, whose own logit is the largest."""
    channels = count - regions
    features = torch.eye(channels).reshape(channels, 1, 1, channels) - 0.5
    decision = Decision(tuple(range(count)), regions)
    output = np.zeros((1, 1, channels), decision.dtype)
    slabs = [Slab(0, 1, features)]
    label_volume(slabs, None, decision, output.shape, output, ResamplingSpec(1), nearest=True)
    np.testing.assert_array_equal(output[0, 0], np.arange(channels) + regions)
    head = Head(torch.eye(channels))
    label_volume(slabs, head, decision, output.shape, output, ResamplingSpec(1))
    np.testing.assert_array_equal(output[0, 0], np.arange(channels) + regions)


@at_the_borders
def test_a_decision_has_the_type_of_its_largest_value(largest, dtype):
    assert Decision((0, largest, 1)).dtype == dtype


@at_the_borders
@pytest.mark.parametrize("named", [False, True])
def test_merged_labels_keep_their_values(largest, dtype, named):
    labels = labels_with(largest)
    merged = MergedLabels(largest)
    merged.add(labels.copy(), {value: value for value in (1, largest - 1, largest)} if named else None)
    merged.keep([1, largest - 1, largest])
    assert merged.labels.dtype == dtype
    np.testing.assert_array_equal(merged.labels, labels)


@at_the_borders
@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
def test_label_files_keep_their_values(tmp_path, extension, largest, dtype):
    labels, path = labels_with(largest), tmp_path / f"labels{extension}"
    write_labels(path, labels, GRID, [Segment(value, str(value), (1, 0, 0)) for value in (1, largest - 1, largest)])
    label_map = read_label_map(path)
    np.testing.assert_array_equal(label_map.array, labels)
    if extension == ".seg.nrrd":
        assert list(label_map.names) == [1, largest - 1, largest]


@at_the_borders
def test_checked_labels_are_counted_at_their_values(largest, dtype):
    names = {1: "first", largest - 1: "last but one", largest: "last"}
    report = findings_on(None, LabelMap(labels_with(largest).astype(np.int32), GRID, Path("labels.nii"), names))
    assert not [finding for finding in report.findings if finding.code == "empty"]


@pytest.mark.parametrize("largest", [254, 255, 256, 65533])
def test_matched_labels_get_values_beyond_the_largest(largest):
    prediction = LabelMap(labels_with(largest), GRID, Path("a.nii"), {1: "a", largest - 1: "b", largest: "c"})
    reference = LabelMap(labels_with(largest), GRID, Path("b.nii"), {1: "c", largest - 1: "b", largest: "d"})
    array, names = match_values(prediction, reference)
    np.testing.assert_array_equal(array[0, 0], [largest + 1, largest - 1, 1, 0])
    assert names == {1: "c", largest - 1: "b", largest: "d", largest + 1: "a"}


def test_matched_labels_get_free_values_where_the_largest_is_taken():
    prediction = LabelMap(labels_with(65535), GRID, Path("a.nii"), {1: "a", 65534: "b", 65535: "c"})
    reference = LabelMap(labels_with(65535), GRID, Path("b.nii"), {1: "c", 65534: "b", 65535: "d"})
    array, names = match_values(prediction, reference)
    np.testing.assert_array_equal(array[0, 0], [2, 65534, 1, 0])
    assert names[2] == "a"
