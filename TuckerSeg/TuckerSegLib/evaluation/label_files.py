"""Reads label maps from files with the names of their values, and pairs the files of two folders by case.

Names come from a segmentation of 3D Slicer, from nnU-Net's dataset.json, or from the table of structures. Where two
files have names, their structures are matched by name: every segmentation of 3D Slicer may number them in its own way.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog.structures import known_structures, title_of
from ..errors import ImageError, SpecError
from ..image import LARGEST_LABEL, Geometry, label_type, oriented, read_image
from ..image.checks import check_geometry
from ..image.formats.nrrd import read_nrrd_layers
from ..image.formats.seg_nrrd import read_segment_layers, read_segment_names
from ..image.reading import HEADER_READERS
from .label_names import names_beside

SEGMENTATION = ".seg.nrrd"
EXTENSIONS = (SEGMENTATION, *HEADER_READERS)  # the first that fits counts
WHOLE = 1e-3  # numbers this near to a whole one are: a file's scale factor rounds them


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels on their grid.

    Attributes:
        array: (Z, Y, X), whole numbers from 0, along the axes nearest to right, anterior and superior.
        geometry: The array's grid.
        source: The file that it was read from.
        names: Label value to name; empty where the file comes without names.
        notes: What a user should know about the file, one sentence each.
    """

    array: np.ndarray
    geometry: Geometry
    source: Path
    names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FilePair:
    """The two label files of a case."""

    case: str
    prediction: Path
    reference: Path


def read_label_map(path: Path, names: Mapping[int, str] | None = None) -> LabelMap:
    """Read a label file: NIfTI, NRRD, MetaImage or 3D Slicer's segmentation.

    Args:
        path: The file.
        names: Label value to name; None takes the names in the segmentation, or else in the dataset.json beside the
            file.

    Raises:
        ImageError: The file cannot be read, or holds something else than labels.
        SpecError: The dataset.json beside it is damaged.
    """
    if os.path.isdir(path):
        raise ImageError(f"{path}: a label file is needed; found a folder.")
    if names is None:
        names = _segment_names(path) or names_beside(path)
    image = read_image(path, missing_value=0.0)
    array, geometry = oriented(_whole_numbers(image.array[0], path), image.geometry)
    return LabelMap(array, geometry, path, names, image.notes)


def read_layers(path: Path, names: Mapping[int, str] | None = None) -> tuple[LabelMap, ...]:
    """Read a label file whose segments may overlap: a segmentation of 3D Slicer keeps those in several layers.

    Args:
        path: The file.
        names: As for :func:`read_label_map`; not used where there are several layers, which may use the same values.

    Returns:
        One label map per layer, on the same grid; one alone for every other file.

    Raises:
        ImageError, SpecError: As :func:`read_label_map`.
    """
    if not is_segmentation(path) or not os.path.isfile(path):
        return (read_label_map(path, names),)
    segments = read_segment_layers(path)
    if len(segments) < 2:
        return (read_label_map(path, names),)
    standard = _standard_names(
        path, {(layer, value): name for layer, values in segments.items() for value, name in values.items()}
    )
    arrays, affine, notes = read_nrrd_layers(path)
    grid = Geometry(arrays.shape[1:], affine)
    notes += check_geometry(grid, str(path))
    if max(segments) >= len(arrays):
        raise ImageError(
            f"{path}: a segment lies in layer {max(segments)}; the file has {len(arrays)}. Export it again."
        )
    maps = []
    for layer in sorted(segments):
        array, geometry = oriented(_whole_numbers(arrays[layer], path), grid)
        own = {value: name for (home, value), name in standard.items() if home == layer}
        maps.append(LabelMap(array, geometry, path, own, () if maps else notes))
    return tuple(maps)


def is_segmentation(path: Path) -> bool:
    """Whether a file is a segmentation of 3D Slicer, by its name."""
    return path.name.lower().endswith(SEGMENTATION)


def identities(labels: LabelMap, named: bool) -> dict[object, str]:
    """What each structure is known by, to its name: by that where both maps have names, else by its value."""
    return {_comparable(name) if named else value: name for value, name in _all_names(labels).items()}


def match_values(prediction: LabelMap, reference: LabelMap) -> tuple[np.ndarray, dict[int, str]]:
    """Give the structures of a prediction the label values that they have in its reference.

    Structures are matched by name, whatever the case and the order of words; by value where one map has no names.

    Args:
        prediction: The label map whose values are changed.
        reference: The label map whose values are kept.

    Returns:
        The prediction's labels with these values, (Z, Y, X), and the names of both maps by value.

    Raises:
        SpecError: The two have more structures than a label map can hold.
    """
    if not prediction.names or not reference.names or prediction.names == reference.names:
        return prediction.array, {**prediction.names, **reference.names}
    predicted, expected = _all_names(prediction), _all_names(reference)
    values = {_comparable(name): value for value, name in expected.items()}
    used = predicted.keys() | expected.keys()
    free = itertools.chain(range(max(used) + 1, LARGEST_LABEL + 1), range(1, max(used)))
    unused = (value for value in free if value not in used)
    table = np.zeros(max(predicted) + 1, dtype=np.int64)
    names = dict(expected)
    for value, name in predicted.items():
        common_value = values.get(_comparable(name))
        if common_value is None:
            common_value = next(unused, None) if value in expected else value
            if common_value is None:
                raise SpecError(f"{prediction.source}, {reference.source}: more than {LARGEST_LABEL} structures.")
            names[common_value] = name
        table[value] = common_value
    return table.astype(label_type(int(table.max())))[prediction.array], names


def pair_files(prediction: Path, reference: Path) -> tuple[list[FilePair], list[Path]]:
    """Pair two label files, or the files of two folders that have the same name without its extension.

    Args:
        prediction: Path of a label file or of a folder of them.
        reference: Path of the other file, or of the other folder.

    Returns:
        Cases in the order of their names, and the label files of either folder that have no partner.

    Raises:
        ImageError: A path does not exist, one is a file and the other a folder, a folder has two files of one case, or
            the folders have no case in common.
    """
    for path in (prediction, reference):
        if not os.path.exists(path):
            raise ImageError(f"{path}: there is no such file or folder. Check the path.")
    if not os.path.isdir(prediction) and not os.path.isdir(reference):
        return [FilePair(case_name(reference) or reference.name, prediction, reference)], []
    if not (os.path.isdir(prediction) and os.path.isdir(reference)):
        raise ImageError(f"Two label files or two folders of them are compared; found {prediction} and {reference}.")
    predictions, references = _cases(prediction), _cases(reference)
    pairs = [FilePair(case, predictions[case], references[case]) for case in sorted(predictions.keys() & references)]
    if not pairs:
        raise ImageError(
            f"{prediction} ({len(predictions)} label files) and {reference} ({len(references)}) have no case in "
            f"common: cases are paired by file name, without {', '.join(EXTENSIONS)}."
        )
    alone = predictions.keys() ^ references.keys()
    return pairs, [predictions.get(case) or references[case] for case in sorted(alone)]


def unnamed(value: int) -> str:
    """The name of a structure that has none: ``label 5``."""
    return f"label {value}"


def case_name(path: Path) -> str | None:
    """A label file's name without its extension; None where the extension is not that of a label file."""
    name = path.name
    extension = next((each for each in EXTENSIONS if name.lower().endswith(each)), None)
    return name[: -len(extension)] if extension and not name.startswith(".") else None


def _all_names(labels: LabelMap) -> dict[int, str]:
    """Names of all values that are named or occur in the array."""
    present = {int(value) for slab in labels.array for value in np.flatnonzero(np.bincount(slab.ravel()))}
    return {**{value: unnamed(value) for value in sorted(present - {0})}, **labels.names}


def _comparable(name: str) -> str:
    """A name as it is compared with others."""
    return title_of(name).casefold()


def _segment_names(path: Path) -> dict[int, str]:
    """Names in a segmentation of 3D Slicer, as standard names where there are; empty for other files."""
    return _standard_names(path, read_segment_names(path)) if is_segmentation(path) else {}


def _standard_names(path: Path, names: Mapping[Any, str]) -> dict[Any, str]:
    """Names of segments, as standard names where there are."""
    repeated = [name for name, count in Counter(map(_comparable, names.values())).items() if count > 1]
    if repeated:
        raise ImageError(f"{path}: several segments are called '{repeated[0]}'. Rename them in 3D Slicer.")
    standard = {structure.title.casefold(): structure.name for structure in known_structures()}
    return {value: standard.get(_comparable(name), name) for value, name in names.items()}


def _cases(folder: Path) -> dict[str, Path]:
    """Label files of a folder by case."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        case = case_name(path) if os.path.isfile(path) else None
        if case is None:
            continue
        if case in files:
            raise ImageError(f"{path} and {files[case].name} are the same case. Keep one of them in the folder.")
        files[case] = path
    return files


def _whole_numbers(values: np.ndarray, path: Path) -> np.ndarray:
    """Label values in a whole-number type; floats are taken where they are whole but for ``WHOLE``."""
    low, high = float(values.min()), float(values.max())
    outside = low < 0 or high > LARGEST_LABEL
    floats = values.dtype.kind == "f" and not outside
    fractions = floats and any((abs(slab - np.rint(slab)) > WHOLE).any() for slab in values)
    if outside or fractions:
        raise ImageError(
            f"{path}: labels are whole numbers from 0 to {LARGEST_LABEL}; found {low:g} to {high:g}"
            f"{', some of them not whole' if fractions else ''}. Is it an image instead of a label map?"
        )
    return np.rint(values).astype(np.int32) if values.dtype.kind == "f" else values
