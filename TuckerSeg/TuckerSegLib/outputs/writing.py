"""Writes what a run is to write; looks before the run whether that can be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import image
from ..errors import OutputError
from ..files.names import fault_of_name
from ..models.resolved_job import ResolvedJob, wanted_structures
from ..records.job import Job, OutputFile
from ..segmentation.segment import SegmentationResult
from ..text_files import make_folder
from . import types
from .extras import check_extras


@dataclass(frozen=True)
class _Piece:
    """A file to write, and the structures in it: all, or one."""

    path: Path
    value: int | None = None
    name: str = ""


def check_outputs(job: Job) -> None:
    """Look before a run whether its files can be written.

    Raises:
        OutputError: One cannot be, or two are the same file.
        DependencyError: A package that writes it is not here.
    """
    outputs = types.output_files(job)
    places = [os.path.abspath(output.path) for output in outputs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise OutputError(f"{outputs[number].path} would be written twice. Give each type a name of its own.")
    for output in outputs:
        if output.type in types.DICOM_TYPES:
            from .dicom import check_dicom_output

            check_dicom_output(output, job)
        if output.split:
            folder = _folder_of_pieces(output)
            if os.path.exists(folder) and not os.path.isdir(folder):
                raise OutputError(f"{folder}: a file is in the place of the folder for the structures. Remove it.")
            image.check_output(Path(folder).with_name(f"{Path(folder).name}.nrrd"))
        elif output.type in types.DICOM_TYPES:
            image.check_output(Path(output.path).with_name(f"{Path(output.path).name}.nrrd"))
            if os.path.isdir(output.path):
                raise OutputError(f"{output.path}: is a folder. Give the name of a file in it.")
        else:
            image.check_output(output.path)
    check_extras(job)


def write_outputs(result: SegmentationResult, resolved: ResolvedJob) -> None:
    """Write all files of a job; each appears when it is whole.

    Args:
        result: Labels and statistics of the run.
        resolved: The job; it names the files and their types.

    Raises:
        OutputError: One cannot be written.
        ImageError: The DICOM slices that a file refers to cannot be read any more.
    """
    outputs = types.output_files(resolved.job)
    dicom = [output for output in outputs if output.type in types.DICOM_TYPES]
    for output in outputs:
        if output in dicom:
            continue
        for piece in _pieces(output, result, resolved.job):
            _write_image(piece, result)
    if dicom:
        from .dicom import DicomWriter

        writer = DicomWriter(result, resolved)
        for output in dicom:
            for piece in _pieces(output, result, resolved.job):
                writer.write(output.type, piece.path, piece.value)


def written_paths(outputs: Sequence[OutputFile]) -> list[Path]:
    """The files that are there of a run's outputs, those of single structures included."""
    paths: list[Path] = []
    for output in outputs:
        if not output.split:
            paths.append(Path(output.path))
        else:
            ending = _ending(output)
            folder = Path(_folder_of_pieces(output))
            paths += sorted(path for path in folder.glob("*") if path.name.endswith(ending))
    return [path for path in paths if os.path.isfile(path)]


def _pieces(output: OutputFile, result: SegmentationResult, job: Job) -> Iterator[_Piece]:
    if not output.split:
        yield _Piece(Path(output.path))
        return
    folder = make_folder(Path(_folder_of_pieces(output)))
    names = {value: name for value, name in result.label_names.items() if value}
    wanted = wanted_structures(job, names, result.statistics.model)
    present = {structure.value for structure in result.statistics.structures}
    for value, name in names.items():
        empty = value not in present
        if (wanted is not None and name not in wanted) or (empty and output.type in types.DICOM_TYPES):
            continue  # an image without the structure says that it is not there; DICOM objects are never empty
        yield _Piece(folder / (_file_name(name) + _ending(output)), value, name)


def _write_image(piece: _Piece, result: SegmentationResult) -> None:
    if piece.value is None:
        result.save(str(piece.path))
        return
    segment = next((each for each in result.segments() if each.value == piece.value), None)
    labels = (result.labels == piece.value).astype(np.uint8)
    segments = [] if segment is None else [image.Segment(1, segment.name, segment.color, segment.tags)]
    image.write_labels(piece.path, labels, result.geometry, segments)


def _folder_of_pieces(output: OutputFile) -> str:
    return types.without_ending(output.path)


def _ending(output: OutputFile) -> str:
    return output.path[len(types.without_ending(output.path)) :] or types.TYPES[output.type]


def _file_name(name: str) -> str:
    """A structure's name as that of a file; names come from models."""
    fit = "".join("_" if character in '<>:"/\\|?*' or ord(character) < 32 else character for character in name)
    return fit if fault_of_name(fit) is None else f"structure_{fit.strip('. ')}"
