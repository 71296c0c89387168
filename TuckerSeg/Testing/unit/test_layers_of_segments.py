"""Segmentations of 3D Slicer that are cut to their segments, or whose segments overlap, against whole label maps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from TuckerSegLib.cli.commands.check import findings_on
from TuckerSegLib.errors import ImageError
from TuckerSegLib.evaluation.cases import EvaluationSpec, evaluate
from TuckerSegLib.evaluation.common_grid import on_grid
from TuckerSegLib.evaluation.label_files import read_label_map
from TuckerSegLib.image import Geometry, Segment, image_from_array, oriented, write_labels

AFFINE = np.array([[-2.0, 0, 0, 10.0], [0, 1.5, 0, -4.0], [0, 0, 3.0, 7.0], [0, 0, 0, 1.0]])
SHAPE = (12, 14, 16)
GRAY = (0.5, 0.5, 0.5)
LIVER, TUMOR, CYST = (slice(2, 9), slice(3, 10), slice(4, 12)), (slice(4, 6),) * 3, (slice(5, 8),) * 3


def label_map(**boxes) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    for name, box in boxes.items():
        array[box] = int(name[1:])
    return array


def whole(path, labels, names):
    """A label map of nnU-Net, with names beside it."""
    write_labels(path, labels, Geometry(SHAPE, AFFINE), [])
    if names:
        (path.parent / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **names}}))
    return path


def cut(path, labels, names, lower, upper):
    """A segmentation of the part of a label map from a voxel to another, (Z, Y, X)."""
    shift = np.eye(4)
    shift[:3, 3] = lower[::-1]
    part = labels[tuple(slice(*ends) for ends in zip(lower, upper))]
    segments = [Segment(value, name, GRAY) for value, name in names.items()]
    write_labels(path, part, Geometry(part.shape, AFFINE @ shift), segments)
    return path


def layered(path, layers, names, lower=(0, 0, 0)):
    """A segmentation as 3D Slicer stores it: layers fastest; ``names`` has (layer, value) to name."""
    stack = np.stack(layers, axis=-1)
    shift = np.eye(4)
    shift[:3, 3] = lower[::-1]
    matrix = np.diag([-1, -1, 1, 1]) @ AFFINE @ shift
    lines = [
        "NRRD0004",
        "type: uchar",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {len(layers)} {' '.join(str(size) for size in stack.shape[2::-1])}",
        "space directions: none " + " ".join(f"({','.join(map(repr, map(float, c)))})" for c in matrix[:3, :3].T),
        "kinds: list domain domain domain",
        "encoding: raw",
        f"space origin: ({','.join(map(repr, map(float, matrix[:3, 3])))})",
    ]
    for number, ((layer, value), name) in enumerate(names.items()):
        lines += [f"Segment{number}_{key}:={text}" for key, text in
                  (("ID", f"S{number}"), ("Name", name), ("Layer", layer), ("LabelValue", value))]  # fmt: skip
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + stack.tobytes())
    return path


def dice_of(prediction, reference, **settings):
    evaluation = evaluate(prediction, reference, EvaluationSpec(**settings))
    return {structure.name: structure.dice for structure in evaluation.structures}


@pytest.mark.parametrize("direction", ["prediction", "reference"])
def test_a_cut_segmentation_is_compared_on_the_whole_grid(tmp_path, direction):
    labels = label_map(v1=LIVER, v2=CYST)
    truth = whole(tmp_path / "truth.nii.gz", labels, {"liver": 1, "cyst": 2})
    small = cut(tmp_path / "small.seg.nrrd", labels, {1: "liver", 2: "cyst"}, (2, 3, 4), (9, 10, 12))
    pair = (small, truth) if direction == "prediction" else (truth, small)
    assert dice_of(*pair) == {"liver": 1.0, "cyst": 1.0}


def test_a_cut_segmentation_is_checked_on_its_images_grid(tmp_path):
    image = image_from_array(np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16), affine=AFFINE)
    path = cut(tmp_path / "small.seg.nrrd", label_map(v1=LIVER), {1: "liver"}, (2, 3, 4), (9, 10, 12))
    small = read_label_map(path)
    assert "grid" not in {finding.code for finding in findings_on(image, small).findings}
    placed = on_grid(small, oriented(image.array[0], image.geometry)[1])
    assert np.array_equal(placed.array, label_map(v1=LIVER)[:, :, ::-1])
    elsewhere = replace(small, source=tmp_path / "small.nii.gz")  # which says nothing of what lies around it
    assert "grid" in {finding.code for finding in findings_on(image, elsewhere).findings}


def test_two_cut_segmentations_are_compared_in_their_union(tmp_path):
    first, second = label_map(v1=(slice(1, 5),) * 3), label_map(v1=(slice(3, 7),) * 3)
    paths = [
        cut(tmp_path / "a.seg.nrrd", first, {1: "liver"}, (1, 1, 1), (5, 5, 5)),
        cut(tmp_path / "b.seg.nrrd", second, {1: "liver"}, (3, 3, 3), (7, 7, 7)),
    ]
    assert dice_of(*paths) == {"liver": pytest.approx(2 * 8 / 128)}


def test_other_lattices_and_cut_files_of_other_formats_are_refused(tmp_path):
    labels = label_map(v1=LIVER)
    truth = whole(tmp_path / "truth.nii.gz", labels, {"liver": 1})
    half = cut(tmp_path / "half.seg.nrrd", labels, {1: "liver"}, (2, 3, 4), (9, 10, 12))
    content = half.read_bytes()
    origin = next(line for line in content.split(b"\n") if line.startswith(b"space origin"))
    half.write_bytes(content.replace(origin, b"space origin: (-2.0,-0.25,13.0)"))
    small = cut(tmp_path / "small.nii.gz", labels, {}, (2, 3, 4), (9, 10, 12))
    far = cut(tmp_path / "far.seg.nrrd", labels, {1: "liver"}, (2, 3, 4), (9, 10, 12))
    far.write_bytes(content.replace(origin, b"space origin: (-400000.0,-300000.0,300001.0)"))
    for path, words in ((half, "not on the grid"), (small, "not on the grid"), (far, "memory|not on the grid")):
        with pytest.raises(ImageError, match=words):
            dice_of(path, truth)


def test_segments_that_overlap_are_compared_one_layer_after_the_other(tmp_path):
    layers = [label_map(v1=LIVER), label_map(v1=TUMOR, v2=CYST)]
    names = {(0, 1): "liver", (1, 1): "tumor", (1, 2): "cyst"}
    both = layered(tmp_path / "both.seg.nrrd", layers, names)
    assert dice_of(both, both) == {"liver": 1.0, "tumor": 1.0, "cyst": 1.0}
    flat = label_map(v3=LIVER, v2=TUMOR)
    truth = whole(tmp_path / "truth.nii.gz", flat, {"liver": 3, "tumor": 2})
    sizes = [int((flat == 3).sum()), int((label_map(v1=LIVER) == 1).sum())]
    expected = 2 * sizes[0] / sum(sizes)  # the flat map lacks of the liver what is tumor
    dice = dice_of(both, truth)
    assert dice["liver"] == pytest.approx(expected)
    assert dice["tumor"] == pytest.approx(2 * 7 / (7 + 8))  # cyst covers one of its voxels in this layer
    assert dice["cyst"] is None  # the reference does not have it


def test_layers_that_are_cut_are_compared_on_the_whole_grid(tmp_path):
    layers = [label_map(v1=LIVER)[2:9, 3:10, 4:12], label_map(v1=CYST)[2:9, 3:10, 4:12]]
    both = layered(tmp_path / "both.seg.nrrd", layers, {(0, 1): "liver", (1, 1): "cyst"}, lower=(2, 3, 4))
    truth = whole(tmp_path / "truth.nii.gz", label_map(v1=LIVER), {"liver": 1})
    assert dice_of(both, truth)["liver"] == 1.0


def test_layers_without_names_on_the_other_side_go_by_values_where_these_differ(tmp_path):
    layers = [label_map(v1=LIVER), label_map(v2=CYST)]
    truth = whole(tmp_path / "truth.nii.gz", label_map(v1=LIVER), {})
    both = layered(tmp_path / "both.seg.nrrd", layers, {(0, 1): "liver", (1, 2): "cyst"})
    assert dice_of(both, truth)["liver"] == 1.0
    same = layered(tmp_path / "same.seg.nrrd", layers[:1] * 2, {(0, 1): "liver", (1, 1): "cyst"})
    with pytest.raises(ImageError, match="its segments overlap, and .* has a value that another layer uses"):
        dice_of(same, truth)


def test_a_layer_that_is_not_there_is_told(tmp_path):
    path = layered(tmp_path / "a.seg.nrrd", [label_map(v1=LIVER)] * 2, {(0, 1): "liver", (5, 1): "cyst"})
    with pytest.raises(ImageError, match="a segment lies in layer 5; the file has 2"):
        dice_of(path, path)


def test_values_in_text_name_structures_too(tmp_path):
    truth = whole(tmp_path / "truth.nii.gz", label_map(v1=LIVER), {"liver": "1"})
    assert dice_of(truth, truth) == {"liver": 1.0}
